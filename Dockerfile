# One image, two commands: `python -m service` answers, `python -m retrain worker` trains.
# Build: docker build -t ripen .      (GPU: --build-arg EXTRA=gpu)
FROM python:3.11-slim-bookworm AS build
WORKDIR /app
ARG EXTRA=""
RUN python -m venv /opt/ripen
COPY requirements.lock .
RUN /opt/ripen/bin/pip install --no-cache-dir --require-hashes --requirement requirements.lock
COPY . .
RUN /opt/ripen/bin/pip install --no-cache-dir --no-deps --no-build-isolation . \
 && if [ -n "$EXTRA" ]; then sed 's/ \\$//; /--hash/d' requirements.lock > /tmp/constraints.txt \
 && /opt/ripen/bin/pip install --no-cache-dir --constraint /tmp/constraints.txt ".[$EXTRA]"; fi

FROM python:3.11-slim-bookworm
RUN useradd --uid 10001 --create-home ripen && install -d -o ripen -g ripen /var/lib/ripen
COPY --from=build /opt/ripen /opt/ripen
ENV PATH=/opt/ripen/bin:$PATH PYTHONUNBUFFERED=1 RIPEN_HOME=/var/lib/ripen
USER 10001
VOLUME /var/lib/ripen
WORKDIR /var/lib/ripen
# Loopback only in this release: run the container with the host's network, or clients beside it in one pod.
CMD ["ripen", "up"]
