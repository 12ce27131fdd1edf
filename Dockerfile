# One image for all five services; the command selects the service:
#   docker run --env QUADRILLE_NATS_URL=nats://… --volume order:/data quadrille python -m order_service

ARG PYTHON_IMAGE=python:3.11-slim-bookworm


FROM ${PYTHON_IMAGE} AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build

COPY requirements.lock ./
RUN pip download --require-hashes --requirement requirements.lock --dest wheels

COPY pyproject.toml deploy/requirements.py ./
RUN python requirements.py > needed.txt \
 && python -m venv --without-pip /opt/quadrille \
 && pip --python /opt/quadrille/bin/python install \
    --no-index --find-links wheels --requirement needed.txt \
 # Litestar requires these for random examples, which it does not make here: 25 MB that no service imports.
 && pip --python /opt/quadrille/bin/python uninstall --yes polyfactory faker

WORKDIR /app
COPY deploy/healthcheck.py deploy/with_all_databases.sh ./
COPY contracts/ contracts/
COPY shared/ shared/
COPY order_service/ order_service/
COPY inventory_service/ inventory_service/
COPY shipping_service/ shipping_service/
COPY notifier_service/ notifier_service/
COPY read_api/ read_api/
COPY quadrille/ quadrille/
RUN python -m compileall -q --invalidation-mode unchecked-hash .


FROM ${PYTHON_IMAGE}

RUN groupadd --gid 10001 quadrille \
 && useradd --uid 10001 --gid quadrille --no-create-home --home-dir /data --shell /usr/sbin/nologin quadrille \
 && install --directory --owner quadrille --group quadrille /data /backups

COPY --from=build /opt/quadrille /opt/quadrille
COPY --from=build /app /app
WORKDIR /app

# Proves that every service can import its modules, and compiles those of the standard library: the base image has
# no byte code, and a read-only container cannot write any.
RUN for package in order_service inventory_service shipping_service notifier_service read_api; do \
      /opt/quadrille/bin/python -c "import healthcheck, quadrille.cli.provision, quadrille.cli.check, quadrille.cli.backup, quadrille.cli.restore, quadrille.cli.reconcile, quadrille.cli.reset_keys, quadrille.cli.reset_password, $package.app" || exit 1; \
    done

ENV PATH=/opt/quadrille/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    QUADRILLE_DATA_DIR=/data \
    QUADRILLE_HOST=0.0.0.0

USER 10001:10001
EXPOSE 8000 8080 8081 8082 8083
# Without site-packages it starts four times as fast, and it is started for as long as the container runs.
HEALTHCHECK --interval=10s --timeout=10s --start-period=60s --retries=3 CMD ["python", "-S", "-E", "/app/healthcheck.py"]
