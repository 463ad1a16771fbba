# syntax=docker/dockerfile:1
# The gateway alone: it needs DATABASE_URL (local mode brings its own PostgreSQL and is not for containers).

FROM rust:1.95-slim-trixie AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin kairosroute \
    && install -D target/release/kairosroute /out/kairosroute

# The same Debian as above: the binary is linked against its C library.
FROM debian:trixie-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin kairosroute
COPY --from=build /out/kairosroute /usr/local/bin/kairosroute
USER 10001
# Inside a container the container's own network is the border.
ENV KAIROSROUTE_LISTEN=0.0.0.0:8080 \
    KAIROSROUTE_METRICS_LISTEN=0.0.0.0:9464
EXPOSE 8080 9464
# bash speaks TCP by itself: no download tool in the image.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /healthz HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' >&3 && read -r _ status _ <&3 && [ \"$status\" = 200 ]"]
ENTRYPOINT ["kairosroute"]
CMD ["serve"]
