# mixopt with all that a node of a cluster needs, from this checkout: `docker build -t mixopt .`
FROM python:3.11-slim AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY search_spaces search_spaces
COPY mixopt mixopt
RUN pip wheel --quiet --no-deps --wheel-dir /dist .

FROM python:3.11-slim
# KubeRay's probes call wget; `ray up` copies files with rsync.
RUN apt-get update && apt-get install -y --no-install-recommends rsync wget && rm -rf /var/lib/apt/lists/*
COPY constraints.txt /dist/
COPY --from=wheel /dist /dist
RUN pip install --quiet --no-cache-dir -c /dist/constraints.txt "$(ls /dist/mixopt-*.whl)[cluster,postgres]"
RUN mixopt --version && ray --version
RUN useradd --create-home mixopt && mkdir /runs && chown mixopt /runs
USER mixopt
WORKDIR /home/mixopt
ENV OMP_NUM_THREADS=1 RAY_USAGE_STATS_ENABLED=0
