# Three images: `service` answers, `service-gpu` answers on a GPU, `retrain` trains.
#   docker build --target service --tag ripen-service .
# Another package index or a private certificate authority comes in as a secret, so that no layer holds it:
#   --secret id=pip.conf,src=... --secret id=ca-certificates,src=...

# Everything in the lock, each file checked against its hash; the targets choose from it what they need.
FROM python:3.11-slim-bookworm AS wheels
WORKDIR /build
COPY requirements.lock ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    --mount=type=secret,id=ca-certificates,target=/etc/ssl/certs/ca-certificates.crt \
    python -m pip download --no-cache-dir --no-deps --only-binary :all: --require-hashes \
      --requirement requirements.lock --dest /wheels
COPY . .
RUN python -m pip wheel --no-cache-dir --no-deps --no-index --find-links /wheels --wheel-dir /wheels .

FROM wheels AS wheels-gpu
COPY requirements-gpu.lock ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    --mount=type=secret,id=ca-certificates,target=/etc/ssl/certs/ca-certificates.crt \
    python -m pip download --no-cache-dir --no-deps --only-binary :all: --require-hashes \
      --requirement requirements-gpu.lock --dest /wheels

# An environment each, without pip, C++ headers and libclang (half a gigabyte that nothing here loads).
FROM wheels AS service-environment
RUN python -m venv --without-pip /opt/ripen \
 && python -m pip --python /opt/ripen/bin/python install --no-cache-dir --no-index --find-links /wheels "ripen[service]" \
 && rm -r /opt/ripen/lib/python3.11/site-packages/tensorflow/include /opt/ripen/lib/python3.11/site-packages/clang

FROM wheels-gpu AS service-gpu-environment
RUN python -m venv --without-pip /opt/ripen \
 && python -m pip --python /opt/ripen/bin/python install --no-cache-dir --no-index --find-links /wheels "ripen[service,gpu]" \
 && rm -r /opt/ripen/lib/python3.11/site-packages/tensorflow/include /opt/ripen/lib/python3.11/site-packages/clang

FROM wheels AS retrain-environment
RUN python -m venv --without-pip /opt/ripen \
 && python -m pip --python /opt/ripen/bin/python install --no-cache-dir --no-index --find-links /wheels "ripen[retrain]" \
 && rm -r /opt/ripen/lib/python3.11/site-packages/tensorflow/include /opt/ripen/lib/python3.11/site-packages/clang

# What all three run on: nobody's account, no installer, one folder to write in (and /tmp, which may be a tmpfs).
FROM python:3.11-slim-bookworm AS runtime
RUN python -m pip uninstall --yes --quiet --root-user-action=ignore setuptools wheel pip \
 && rm -r "$(python -c 'import ensurepip; print(ensurepip.__path__[0])')" \
 && useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/ripen --shell /usr/sbin/nologin ripen \
 && install --directory --owner=ripen --group=ripen --mode=0750 /var/lib/ripen
ENV PATH=/opt/ripen/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    KERAS_HOME=/var/lib/ripen/keras \
    RIPEN_HOME=/var/lib/ripen
LABEL org.opencontainers.image.title="Ripen" \
      org.opencontainers.image.description="A binary image classifier that keeps learning" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
WORKDIR /var/lib/ripen
VOLUME /var/lib/ripen
USER 10001:10001
STOPSIGNAL SIGTERM

# The service listens on loopback until RIPEN_HOST says otherwise, and there only with API keys, and TLS or a proxy.
FROM runtime AS service
EXPOSE 8500 8501
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["python", "-m", "service.alive"]
CMD ["python", "-m", "service"]
COPY --from=service-environment /opt/ripen /opt/ripen

FROM runtime AS service-gpu
EXPOSE 8500 8501
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["python", "-m", "service.alive"]
CMD ["python", "-m", "service"]
COPY --from=service-gpu-environment /opt/ripen /opt/ripen

FROM runtime AS retrain
CMD ["python", "-m", "retrain", "worker"]
COPY --from=retrain-environment /opt/ripen /opt/ripen
