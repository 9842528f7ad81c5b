# The service of pbrec_hf with its bundled checkpoint: docs/serving.md.
#   docker build -t pbrec_hf .
#   docker run --memory 4g -p 127.0.0.1:7860:7860 pbrec_hf
FROM python:3.12-slim

# PyTorch's own index has wheels for CPUs, which make the image smaller by gigabytes: --build-arg TORCH_INDEX=…, the address
# that https://pytorch.org/get-started/locally/ names. For a GPU: --gpus all and --device cuda when it runs.
ARG TORCH_INDEX
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1

RUN pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "torch>=2.10" "torchvision>=0.25"
RUN --mount=type=bind,target=/source,rw pip install "/source[heic,mcp,serve]"

RUN useradd --create-home pbrec
USER pbrec
WORKDIR /home/pbrec
EXPOSE 7860
HEALTHCHECK --start-period=60s --timeout=5s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/health', timeout=4)"]
ENTRYPOINT ["pbrec-hf", "serve", "--host", "0.0.0.0"]
