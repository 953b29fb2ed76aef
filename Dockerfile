# Hearth in one container: the console on 9090, XMPP on 5222 and 5223, everything it keeps in /data.
FROM python:3.13-slim

RUN useradd --system --create-home --uid 5222 hearth \
 && install -d -o hearth -g hearth -m 0700 /data

WORKDIR /srv/hearth
COPY requirements/run.lock requirements/run.lock
RUN pip install --no-cache-dir --only-binary=:all: -r requirements/run.lock

COPY manage.py LICENSE ./
COPY xmppd xmppd
COPY accounts accounts
COPY adminconsole adminconsole
COPY templates templates
COPY static static

USER hearth
ENV HEARTH_HOME=/data HEARTH_CONSOLE_BIND=0.0.0.0 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
VOLUME /data
EXPOSE 9090 5222 5223
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:9090/healthz', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["python", "manage.py"]
CMD ["serve"]
