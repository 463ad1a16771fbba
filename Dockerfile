# syntax=docker/dockerfile:1
# The gateway alone: it needs DATABASE_URL (local mode brings its own PostgreSQL and is not for containers).
# The image holds one static program and certificates. For several platforms:
#   docker buildx build --platform linux/amd64,linux/arm64 --build-arg KAIROSROUTE_BUILD_COMMIT="$(git rev-parse --short=12 HEAD)" .

FROM rust:1.95-alpine AS build
RUN apk add --no-cache build-base cmake perl linux-headers ca-certificates
WORKDIR /src
COPY . .
# The tree in the image has no .git.
ARG KAIROSROUTE_BUILD_COMMIT=
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    KAIROSROUTE_BUILD_COMMIT="$KAIROSROUTE_BUILD_COMMIT" cargo build --release --locked --bin kairosroute \
    && install -D target/release/kairosroute /out/usr/local/bin/kairosroute \
    && install -D -m 644 /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/ca-certificates.crt \
    && install -D -m 644 LICENSE /out/usr/share/doc/kairosroute/LICENSE

FROM scratch
COPY --from=build /out/ /
# No name service is needed for a number.
USER 10001:10001
# Inside a container the container's own network is the border.
ENV PATH=/usr/local/bin \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    KAIROSROUTE_LISTEN=0.0.0.0:8080 \
    KAIROSROUTE_METRICS_LISTEN=0.0.0.0:9464
EXPOSE 8080 9464
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 CMD ["kairosroute", "health"]
ENTRYPOINT ["kairosroute"]
CMD ["serve"]
