-- Usage by other counts than text tokens, and the endpoint that was asked. Only adds: an older process goes on writing
-- rows without these.

ALTER TABLE usage
    ADD COLUMN kind                text   NOT NULL DEFAULT 'chat' CONSTRAINT usage_kind_ck
                                   CHECK (kind IN ('chat', 'responses', 'messages', 'completions', 'embeddings',
                                                   'images', 'speech', 'transcription', 'translation', 'moderation',
                                                   'rerank', 'ocr')),
    ADD COLUMN audio_input_tokens  bigint NOT NULL DEFAULT 0,
    ADD COLUMN image_input_tokens  bigint NOT NULL DEFAULT 0,
    ADD COLUMN audio_output_tokens bigint NOT NULL DEFAULT 0,
    ADD COLUMN image_output_tokens bigint NOT NULL DEFAULT 0,
    ADD COLUMN images              bigint NOT NULL DEFAULT 0,
    ADD COLUMN input_images        bigint NOT NULL DEFAULT 0,
    ADD COLUMN characters          bigint NOT NULL DEFAULT 0,
    -- Milliseconds of audio heard or spoken.
    ADD COLUMN audio_ms            bigint NOT NULL DEFAULT 0,
    ADD COLUMN searches            bigint NOT NULL DEFAULT 0,
    ADD COLUMN queries             bigint NOT NULL DEFAULT 0,
    ADD COLUMN pages               bigint NOT NULL DEFAULT 0;
