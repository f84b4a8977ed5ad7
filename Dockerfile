# Serves one bundle, which is mounted at /model.zip, without TensorFlow: docs/how-to/deploy/container.md.
FROM python:3.13-slim AS build
WORKDIR /build
COPY setup.cfg pyproject.toml requirements-serve.txt README.md LICENSE pipeline.py ./
COPY bottleneck_features bottleneck_features
COPY cache cache
COPY classify classify
COPY featurize featurize
COPY deploy/install.sh deploy/install.sh
RUN sh deploy/install.sh /opt/serve

FROM python:3.13-slim
COPY --from=build /opt/serve /opt/serve
# A user that owns nothing; nothing is written but what a tmpfs at /tmp takes.
USER 10001:10001
WORKDIR /tmp
ENV PATH=/opt/serve/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["python", "-m", "pipeline"]
CMD ["serve", "--model", "/model.zip", "--host", "0.0.0.0"]
