# The project with its environment. Nobody has built it yet: docs/environments.md.
#   docker build --tag vl-beit .
#   docker build --tag vl-beit --build-arg UV_TORCH_BACKEND=cpu .
#   docker build --tag vl-beit --build-arg BASE=nvidia/cuda:13.0.2-base-ubuntu24.04 .
# The default serves GPUs, too: the wheels of torch bring CUDA, the driver is the host's.
ARG BASE=python:3.11-slim

# What the environment is built with, and a user: all that a development container needs.
FROM ${BASE} AS system
ARG UID=1000
# Bases without a Python that can make environments get their distribution's. Versions are theirs.
# hadolint ignore=DL3008,SC2046
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        ca-certificates gcc git libc6-dev libjpeg-dev libwebp-dev make zlib1g-dev \
        $(python3 -c 'import ensurepip' 2>/dev/null || echo python3-dev python3-venv) \
    && rm -rf /var/lib/apt/lists/*
# Ubuntu's images have a user 1000 already.
RUN if user=$(id --user --name "$UID" 2>/dev/null); then userdel --remove "$user"; fi \
    && useradd --create-home --shell /bin/bash --uid "$UID" vlbeit \
    && install --directory --owner=vlbeit --group=vlbeit /vl-beit
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility
# By number: Kubernetes cannot tell whether a name is root's.
USER ${UID}
WORKDIR /vl-beit

FROM system AS project
# Where packages come from, as in any shell; what is not given is not set.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG UV_TORCH_BACKEND
# What the installation reads, and no more: an edit of code does not install anew.
COPY --chown=vlbeit:vlbeit LICENSE Makefile README.md constraints.txt pyproject.toml ./
COPY --chown=vlbeit:vlbeit model/__init__.py model/
COPY --chown=vlbeit:vlbeit pipeline/__init__.py pipeline/
COPY --chown=vlbeit:vlbeit stages/__init__.py stages/
RUN PIP_NO_CACHE_DIR=1 UV_NO_CACHE=1 make install
COPY --chown=vlbeit:vlbeit . .
# Files of a new checkout are newer than an environment from the build cache.
RUN touch .venv/.installed
ENV PATH=/vl-beit/.venv/bin:$PATH RAY_USAGE_STATS_ENABLED=0
CMD ["make", "help"]
