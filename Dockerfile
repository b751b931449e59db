# One file, three images: docker build --target master|worker|cli .

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bins

FROM debian:bookworm-slim AS base
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/*

FROM base AS master
# The data folder belongs to an unprivileged user; a named volume takes this over.
RUN useradd --system --uid 7070 dopq && install -d -o dopq -g dopq /var/lib/dopq
COPY --from=build /src/target/release/dopq-master /src/target/release/dopq /usr/local/bin/
USER dopq
EXPOSE 7070
ENTRYPOINT ["dopq-master"]

FROM base AS worker
# Runs as root: whoever may use the engine's socket is root on the machine anyway.
COPY --from=build /src/target/release/dopq-worker /usr/local/bin/
ENTRYPOINT ["dopq-worker"]

FROM base AS cli
COPY --from=build /src/target/release/dopq /usr/local/bin/
USER nobody
ENTRYPOINT ["dopq"]
