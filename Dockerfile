# The demo, in a container that has nothing of this machine:
#
#     docker build --tag super-selfish .
#     docker run --rm --volume "$PWD/demo:/super-selfish/demo" super-selfish
#
# The page, pictures and the backbone are in demo/ afterwards. With an NVIDIA GPU and its container
# toolkit, `docker run --gpus all ...` trains there.
FROM python:3.12-slim

# elasticdeform is built from source.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev make \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /super-selfish
COPY . .
RUN make install
CMD ["make", "demo"]
