# docker build -t ptm .                                   CPU: torch without the libraries of CUDA
# docker build -t ptm:cuda --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 .
# docker run --rm -v "$PWD:/work" ptm finetune reviews.yaml          with a GPU: docker run --gpus all ptm:cuda …
FROM python:3.12-slim
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG EXTRAS=quickstart,export,lora
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 HF_HOME=/work/.cache/huggingface PTM_CACHE=/work/.cache/ptm
WORKDIR /src
COPY constraints.txt .
# Torch first, from its own index: the layer stays while ptm changes. Its builds there have a local version (+cpu).
RUN pip install --index-url "$TORCH_INDEX" "torch==$(sed -n 's/^torch==//p' constraints.txt)" \
    "torchvision==$(sed -n 's/^torchvision==//p' constraints.txt)"
COPY . .
RUN grep -v -E '^(torch|torchvision)==' constraints.txt > /tmp/constraints.txt \
    && pip install --constraint /tmp/constraints.txt ".[$EXTRAS]" && rm -rf /src/* /tmp/constraints.txt
WORKDIR /work
RUN useradd --create-home ptm && chown ptm /work
USER ptm
ENTRYPOINT ["ptm"]
CMD ["--help"]
