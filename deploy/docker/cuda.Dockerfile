# As cpu.Dockerfile, with the CUDA backend. Needs the NVIDIA container toolkit to run; from the project's folder:
#   docker build -f deploy/docker/cuda.Dockerfile --build-arg ARCHITECTURES=90 -t seamwright:cuda .
# CUDA's compiler and libraries come from NVIDIA's image; everything else is Debian 12, whose C library is newer
# than that image's, so that they run there.
ARG BASE=debian:12-slim
ARG CUDA=nvidia/cuda:13.0.1-cudnn-devel-ubuntu22.04

FROM ${CUDA} AS cuda
# Real folders instead of links between the system's: the toolkit, and the libraries that the program loads.
RUN mv "$(readlink -f /usr/local/cuda)" /opt/cuda \
 && mkdir -p /opt/libraries/include /opt/libraries/lib \
 && find /usr/include \( -name 'cudnn*.h' -o -name 'nccl*.h' \) -exec cp -L {} /opt/libraries/include/ \; \
 && find /usr/lib/x86_64-linux-gnu /opt/cuda/targets/x86_64-linux/lib -maxdepth 1 \
      \( -name 'libcudnn*.so*' -o -name 'libnccl.so*' -o -name 'libcudart.so*' -o -name 'libcublas*.so*' \
         -o -name 'libnvrtc*.so*' \) -exec cp -a {} /opt/libraries/lib/ \;

FROM ${BASE} AS build
WORKDIR /src
COPY tools/setup/ tools/setup/
RUN tools/setup/install.sh --sections=build
COPY --from=cuda /opt/cuda/ /usr/local/cuda/
COPY --from=cuda /opt/libraries/ /usr/local/cuda-libraries/
COPY . .
# ARCHITECTURES: as of the GPUs, "80;90" for A100 and H100; the preset's list when empty. JOBS: compile jobs.
ARG ARCHITECTURES=
ARG JOBS=4
RUN cmake --preset cuda -DSEAMWRIGHT_TESTS=OFF -DCMAKE_CUDA_COMPILER=/usr/local/cuda/bin/nvcc \
      -DCMAKE_PREFIX_PATH=/usr/local/cuda-libraries ${ARCHITECTURES:+"-DCMAKE_CUDA_ARCHITECTURES=${ARCHITECTURES}"} \
 && cmake --build build-cuda --target seamwright -j "${JOBS}" \
 && cmake --install build-cuda --strip --prefix /opt/seamwright

FROM ${BASE}
COPY tools/setup/ /tmp/setup/
RUN /tmp/setup/install.sh --sections=run,library,image \
 && rm -rf /tmp/setup /var/lib/apt/lists/* \
 && useradd --uid 1000 --create-home seamwright \
 && install -d -o seamwright -g seamwright /data
COPY deploy/docker/ssh_seamwright.conf /etc/ssh/ssh_config.d/seamwright.conf
COPY deploy/docker/sshd_seamwright /etc/ssh/sshd_seamwright
COPY --from=cuda /opt/libraries/lib/ /usr/local/cuda-libraries/lib/
RUN echo /usr/local/cuda-libraries/lib >/etc/ld.so.conf.d/cuda.conf && ldconfig
COPY --from=build /opt/seamwright/ /usr/local/
# What the container toolkit puts into the container: the driver's libraries and nvidia-smi.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 1000
WORKDIR /data
VOLUME /data
EXPOSE 8000 8001
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["curl", "-fsS", "-o", "/dev/null", "http://127.0.0.1:8000/livez"]
ENTRYPOINT ["tini", "--", "seamwright"]
CMD ["serve", "--data", "/data", "--host", "0.0.0.0"]
