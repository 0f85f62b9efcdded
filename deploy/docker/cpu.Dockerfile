# The program with everything it starts, as an ordinary user. From the project's folder:
#   docker build -f deploy/docker/cpu.Dockerfile -t seamwright:cpu .
# docs/deploy/docker.md says how to run it.
ARG BASE=debian:12-slim

FROM ${BASE} AS build
WORKDIR /src
# Packages first: they stay in the cache while the sources change.
COPY tools/setup/ tools/setup/
RUN tools/setup/install.sh --sections=build
COPY . .
# JOBS: compile jobs; one needs about 1 GiB.
ARG JOBS=4
RUN cmake --preset cpu -DSEAMWRIGHT_TESTS=OFF \
 && cmake --build build --target seamwright -j "${JOBS}" \
 && cmake --install build --strip --prefix /opt/seamwright

FROM ${BASE}
COPY tools/setup/ /tmp/setup/
RUN /tmp/setup/install.sh --sections=run,library,image \
 && rm -rf /tmp/setup /var/lib/apt/lists/* \
 && useradd --uid 1000 --create-home seamwright \
 && install -d -o seamwright -g seamwright /data
# ssh, for gangs over several containers: docs/deploy/kubernetes.md.
COPY deploy/docker/ssh_seamwright.conf /etc/ssh/ssh_config.d/seamwright.conf
COPY deploy/docker/sshd_seamwright /etc/ssh/sshd_seamwright
COPY --from=build /opt/seamwright/ /usr/local/
USER 1000
WORKDIR /data
VOLUME /data
EXPOSE 8000 8001
# Of `serve`; another command answers nothing and is started without it (--no-healthcheck).
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["curl", "-fsS", "-o", "/dev/null", "http://127.0.0.1:8000/livez"]
# tini is process 1 and takes up what a lost gang leaves behind.
ENTRYPOINT ["tini", "--", "seamwright"]
CMD ["serve", "--data", "/data", "--host", "0.0.0.0"]
