# The scanner alone, for whoever has a container engine and no Python:
#
#   docker build --tag weightfeat .
#   docker run --rm --network none --read-only --volume "$PWD:/models:ro" weightfeat scan /models
FROM python:3.12-slim-bookworm
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml README.md constraints.txt metaparameters.json metaparameters_schema.json ./
COPY learned_parameters learned_parameters
COPY weightfeat weightfeat
RUN pip install --no-cache-dir --disable-pip-version-check --constraint constraints.txt '.[bom]' \
    && rm -rf /src
WORKDIR /models
# Nothing is written, and no file that is read can ask for more than a user may.
USER nobody
ENV PYTHONDONTWRITEBYTECODE=1 OMP_WAIT_POLICY=PASSIVE JOBLIB_TEMP_FOLDER=/tmp
ENTRYPOINT ["weightfeat"]
CMD ["--help"]
