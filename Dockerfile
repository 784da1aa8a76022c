# The whole package in one image; its default command is the full workflow, on GPUs where there are any, else on CPUs.
# NVIDIA's `base` flavour is enough, at the CUDA version that torch is built with: torch brings CUDA's libraries as
# Python packages, and needs of the image only what tells the container toolkit which driver and devices it wants.
ARG BASE_IMAGE=nvidia/cuda:13.0.3-base-ubuntu24.04
FROM ${BASE_IMAGE}

# No versions here: the base, itself pinned, decides which ones exist.
# hadolint ignore=DL3008
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        ca-certificates python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*

# A virtual environment, because the distributions keep their own Python to themselves (PEP 668).
ENV PATH=/opt/venv/bin:$PATH
COPY requirements.txt requirements.hashes.txt container/constraints.txt /opt/venv/
RUN python3 -m venv /opt/venv \
    && pip install --no-cache-dir --disable-pip-version-check --use-pep517 \
        --no-deps --require-hashes --requirement /opt/venv/requirements.hashes.txt \
    && pip install --no-cache-dir --disable-pip-version-check --use-pep517 \
        --requirement /opt/venv/requirements.txt --constraint /opt/venv/constraints.txt

# The embedded LLM, its checksum verified, from the few files that fetch it: other edits do not fetch it again.
WORKDIR /opt/loro
COPY algos/fetch_llm.py algos/
COPY envs/downloads.py envs/errors.py envs/files.py envs/
RUN python -m algos.fetch_llm \
    && chmod -R a+rX models \
    && install --directory --mode 1777 /out

# Readable by any user, whatever the umask of the checkout.
COPY --chmod=755 . .

# Any user may run it, known to the image or not (--user): what asks for a home or a name finds one.
ENV HOME=/out USER=loro PYTHONUNBUFFERED=1
WORKDIR /out
USER 1000:1000
ENTRYPOINT ["/opt/loro/container/entrypoint.sh"]
CMD ["snakemake"]

ARG REVISION=unknown
ENV LORO_COMMIT=${REVISION}
LABEL org.opencontainers.image.title="loro-repro" \
      org.opencontainers.image.description="LORO: reinforcement learning warm-started by an LLM, rebuilt and audited" \
      org.opencontainers.image.documentation="https://arxiv.org/abs/2505.10861" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}"
