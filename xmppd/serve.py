"""`manage.py serve`: the web console and the stream service in one process and on one event loop.

The console (Daphne) and the XMPP listeners can also run apart (`--no-xmpp`, `--no-web`); they then talk through the
control socket in HEARTH_HOME.
"""

from __future__ import annotations

import asyncio
import fcntl
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import Error, connection

from accounts.audit import Actor
from xmppd import __version__, bootstrap, demo, logs
from xmppd.bus import channel
from xmppd.bus.messages import SetupFinished
from xmppd.management.cli import shell_gettext as _
from xmppd.server.control import ControlSocket
from xmppd.server.live import Live
from xmppd.server.server import Server
from xmppd.services import certificates, database_check, db, health, setup
from xmppd.transports.tcp import Listener, bind
from xmppd.transports.tls import Certificate, exporter_works

log = logging.getLogger("hearth.serve")
STOP_SECONDS = 8.0
CERTIFICATE_CHECK_SECONDS = 30
EXIT_TAKEN_PORT = 2
EXIT_NO_DATABASE = 3


class StartError(Exception):
    """Hearth cannot start; the text is the one line that says why and what to do."""

    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Options:
    web: bool = True
    xmpp: bool = True
    demo: bool = False
    reload: bool = False
    debug: bool = False


def run(options: Options) -> int:
    """Serve until a signal; the exit code."""
    config: bootstrap.Config = settings.CONFIG
    logs.configure(config.home, debug=options.debug)
    lock = _lock_home(config) if options.xmpp else None
    try:
        _prepare(options)
        return Application(options).run()
    finally:
        db.stop()
        if lock is not None:
            lock.close()


def _lock_home(config: bootstrap.Config) -> Any:
    """One stream service for one HEARTH_HOME; the lock dies with the process."""
    config.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = open(config.home / "serve.lock", "a+")  # noqa: SIM115  held until the process ends
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        raise StartError(
            _(
                "Hearth already runs with %(home)s (process %(pid)s). Stop it, or set HEARTH_HOME to another folder."
            )
            % {"home": config.home, "pid": file.read().strip() or "?"}
        ) from None
    file.seek(0)
    file.truncate()
    file.write(str(os.getpid()))
    file.flush()
    return file


def _prepare(options: Options) -> None:
    """Database and set-up, before anything listens."""
    config: bootstrap.Config = settings.CONFIG
    is_set_up = config.is_set_up or setup.is_set_up()
    if options.demo and is_set_up and not demo.is_demo(config):
        raise StartError(
            _("%s holds a server of yours, not a demo. Unset HEARTH_HOME, or set it to another folder.")
            % config.home
        )
    if is_set_up:
        _check_database(config)
        db.migrate()
    else:
        try:
            answers = setup.from_environment(os.environ)
            if answers is not None:
                setup.finish(answers, Actor("environment", "system"))
        except (ValidationError, setup.SetupConflict, database_check.DatabaseProblem) as error:
            text = "; ".join(error.messages) if isinstance(error, ValidationError) else str(error)
            raise StartError(_("The set-up from the environment failed: %s") % text) from error
    if options.demo:
        demo.fill(config)


def _check_database(config: bootstrap.Config) -> None:
    """A database that is gone or broken is an error to be told, never replaced by an empty one (reliability F6)."""
    try:
        health.check_usable()
    except (database_check.DatabaseProblem, Error, OSError) as error:
        raise StartError(
            _("The database cannot be used: %s Repair it or restore a backup; hearth.toml in %s names it.")
            % (" ".join(str(error).split()), config.home),
            EXIT_NO_DATABASE,
        ) from error


class Application:
    """What one `serve` runs, from the first socket to the last."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.config: bootstrap.Config = settings.CONFIG
        self.loop = _new_loop()
        self.server: Server | None = None
        self.live: Live | None = None
        self.listeners: list[Listener] = []
        self.certificate: Certificate | None = None
        self.control = ControlSocket(self.config.control_socket)
        self.console_socket: socket.socket | None = None
        self.console_address: tuple[str, int] | None = None  # outlives the socket, which Daphne takes over
        self._stop_reactor: Callable[[], None] | None = None
        self._stopping = False
        self._exit_code = 0

    @property
    def has_console(self) -> bool:
        """An empty HEARTH_CONSOLE_PORT turns the console off, as `--no-web` does."""
        return self.options.web and self.config.ports["console"] is not None

    # -- running

    def run(self) -> int:
        asyncio.set_event_loop(self.loop)
        if self.has_console:
            self.console_socket = self._bind_console()
            self.console_address = self.console_socket.getsockname()[:2]
        for number in (signal.SIGTERM, signal.SIGINT):
            self.loop.add_signal_handler(number, self._on_signal)
        self.loop.add_signal_handler(signal.SIGHUP, self._reload_certificate)
        unsubscribe = channel.subscribe(SetupFinished, self._on_setup_finished)
        try:
            self.loop.run_until_complete(self._start())
            if self.server is None:
                self._log_started()
            self._print_banner()
            if self.has_console:
                self._run_web()
            else:
                self.loop.run_forever()
        finally:
            unsubscribe()
        log.info("server-stopped")
        return self._exit_code

    async def _start(self) -> None:
        if self.options.xmpp:
            channel.set_server_process(True)
            try:
                await self.control.start()
            except OSError as error:
                text = _(
                    "The control socket %(path)s cannot be made (%(reason)s). Set HEARTH_HOME to a shorter path."
                )
                raise StartError(text % {"path": self.control.path, "reason": error}) from error
            if setup.is_set_up():
                await self._start_xmpp()
        if self.options.reload:
            self._watch = self.loop.create_task(_watch_code(self._restart))

    def _run_web(self) -> None:
        """Daphne on our loop; its reactor runs the loop from here on."""
        from twisted.internet import asyncioreactor

        asyncioreactor.install(self.loop)
        from twisted.internet import reactor as twisted_reactor

        from adminconsole import events
        from xmppd.asgi import application
        from xmppd.webserver import WebServer

        reactor: Any = twisted_reactor
        console = self.console_socket
        assert console is not None

        def ready() -> None:
            reactor.adoptStreamPort(console.fileno(), console.family, daphne.http_factory)
            console.close()
            events.start(lambda: self.server.changes if self.server is not None else 0)

        def stop() -> None:
            if reactor.running:
                reactor.stop()

        daphne = WebServer(
            application,
            endpoints=["adopted in ready()"],
            signal_handlers=False,
            ready_callable=ready,
            verbosity=0,
            server_name="Hearth",
            application_close_timeout=2,
        )
        daphne.endpoints = []
        self._stop_reactor = stop
        daphne.run()

    # -- the stream service

    def _on_setup_finished(self, _message: SetupFinished) -> None:
        """The wizard is done (on a thread of the console): clients may connect, without a restart."""
        self.config = settings.CONFIG
        if self.options.xmpp:
            asyncio.run_coroutine_threadsafe(self._start_after_setup(), self.loop)

    async def _start_after_setup(self) -> None:
        if self.server is not None:
            return
        try:
            await self._start_xmpp()
        except StartError as error:
            log.error("%s", error)
            print(f"hearth: {error}", file=sys.stderr)
        except Exception:
            log.exception("the XMPP service cannot be started")
        else:
            print(self._listener_lines(), flush=True)

    async def _start_xmpp(self) -> None:
        domains = await db.db(health.domain_names)
        if not domains:
            raise StartError(_("The database holds no domain; run `manage.py setup`."), EXIT_NO_DATABASE)
        if not certificates.has_certificate(self.config):
            certificates.install_self_signed(self.config, domains[0], self.config.hostname)
        elif (problem := certificates.problem(self.config)) is not None:
            raise StartError(
                _(
                    "The certificate in %(folder)s cannot be used: %(problem)s. "
                    "Mend it, or move both files away to have a new one made."
                )
                % {"folder": self.config.certificate_path.parent, "problem": problem}
            )
        self.certificate = Certificate(self.config.certificate_path, self.config.key_path)
        server = Server(domains[0], domains=domains[1:])
        server.has_tls = self.certificate.context is not None
        live = Live(server)
        await self._listen(server, live)
        self.server, self.live = server, live
        # What stands now stays: the collector need not walk over it, and what connections make is freed by counting.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        live.attach()
        await server.start()
        for listener in self.listeners:
            await listener.accept()
        server.keep_running(self._keep_certificate())
        server.keep_running(live.watch_locks())
        self._log_started()

    def _log_started(self) -> None:
        """Also of a process that is the console alone, or waits for the set-up (domain=-)."""
        rows = self.live.listeners if self.live is not None else []
        listeners = [f"{row['name']}:{row['port']}" for row in rows]
        if self.live is None and self.console_address is not None:
            listeners.append(f"console:{self.console_address[1]}")
        log.info(
            "server-started version=%s domain=%s listeners=%s database=%s",
            __version__,
            self.server.domain if self.server is not None else "-",
            ",".join(listeners) or "-",
            connection.vendor,
        )

    async def _listen(self, server: Server, live: Live) -> None:
        assert self.certificate is not None
        for name, is_direct_tls in (("c2s", False), ("c2s_tls", True)):
            port = self.config.ports[name]
            if port is None:
                continue
            listener = Listener(server, self.certificate, is_direct_tls=is_direct_tls)
            try:
                bound = await listener.listen(self.config.bind, port)
            except OSError as error:
                self._close_listeners()
                raise StartError(
                    _port_problem(name, self.config.bind, port, error), EXIT_TAKEN_PORT
                ) from error
            self.listeners.append(listener)
            live.listeners.append(
                {
                    "name": name,
                    "address": self.config.bind or "*",
                    "port": bound,
                    "tls": "direct" if is_direct_tls else "starttls",
                }
            )
        if self.console_address is not None:
            address, port = self.console_address
            live.listeners.append({"name": "console", "address": address, "port": port, "tls": "none"})

    async def _keep_certificate(self) -> None:
        """Find out whether tls-exporter can be offered; then look for renewed files (F14)."""
        works = await asyncio.to_thread(exporter_works, self.config.certificate_path, self.config.key_path)
        for listener in self.listeners:
            listener.has_exporter = works
        if not works:
            log.info("tls-exporter is not offered: the self-test failed")
        while not self._stopping:
            await asyncio.sleep(CERTIFICATE_CHECK_SECONDS)
            self._reload_certificate()

    def _reload_certificate(self) -> None:
        if self.certificate is not None and self.certificate.reload() and self.server is not None:
            self.server.has_tls = True

    def _close_listeners(self) -> None:
        for listener in self.listeners:
            listener.close()

    # -- the end

    def _on_signal(self) -> None:
        if self._stopping:
            os._exit(1)  # asked twice: now
        self._stopping = True
        self.loop.create_task(self._stop())

    async def _stop(self) -> None:
        """Ports first, then clients, then the rest (F2)."""
        log.info("server-stopping sessions=%d", len(self.server.sessions()) if self.server is not None else 0)
        self._close_listeners()
        if self.server is not None:
            await self.server.stop(timeout=STOP_SECONDS)
        if self.live is not None:
            self.live.detach()
        await self.control.stop()
        if self._stop_reactor is not None:
            self._stop_reactor()
        else:
            self.loop.stop()

    def _restart(self) -> None:
        """The code changed: the same process starts over."""
        self._close_listeners()
        os.execv(sys.executable, [sys.executable, *sys.argv])  # noqa: S606

    # -- what the person at the terminal sees

    def _bind_console(self) -> socket.socket:
        port = self.config.ports["console"]
        assert port is not None
        host = self.config.console_bind
        if host is None:
            host = "127.0.0.1" if setup.is_set_up() and setup.LOCALHOST_ONLY.value else ""
        try:
            return bind(host, port)[0]
        except OSError as error:
            raise StartError(_port_problem("console", host, port, error), EXIT_TAKEN_PORT) from error

    def _print_banner(self) -> None:
        lines = [""]
        if self.console_socket is not None:
            lines.append(_("  Hearth console   %s") % self._console_url())
        if self.server is not None:
            lines.append(self._listener_lines())
        elif self.options.xmpp:
            lines.append(_("  XMPP             starts when the set-up in the console is finished"))
        lines.append(_("  Data             %s") % self.config.home)
        if self.options.demo:
            lines += demo.banner()
        lines += [_("  Stop             Ctrl-C"), ""]
        print("\n".join(lines), flush=True)

    def _console_url(self) -> str:
        assert self.console_socket is not None
        host, port = self.console_socket.getsockname()[:2]
        if host in ("::", "0.0.0.0"):  # noqa: S104
            host = "127.0.0.1"
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
        if setup.is_set_up():
            return url
        return f"{url}setup/?token={bootstrap.setup_token(self.config)}"

    def _listener_lines(self) -> str:
        assert self.live is not None
        assert self.server is not None
        labels = {"starttls": "STARTTLS", "direct": "TLS"}
        ports = ", ".join(
            f"{row['port']} ({labels[row['tls']]})" for row in self.live.listeners if row["tls"] in labels
        )
        return _("  XMPP             %(domain)s on %(ports)s") % {
            "domain": self.server.domain,
            "ports": ports,
        }


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def _port_problem(name: str, host: str, port: int, error: OSError) -> str:
    variable = bootstrap.PORT_VARIABLES[name]
    where = f"{host}:{port}" if host else str(port)
    return _(
        "Port %(where)s cannot be opened (%(reason)s). Set %(variable)s to another port, for example %(example)s."
    ) % {
        "where": where,
        "reason": os.strerror(error.errno) if error.errno else error,
        "variable": variable,
        "example": f"{variable}={port + 100 if 0 < port < 65000 else 0}",
    }


async def _watch_code(changed: Callable[[], None]) -> None:
    """For developers: start over when a source file is newer than before."""
    folders = [bootstrap.ROOT / name for name in ("xmppd", "accounts", "adminconsole")]

    def newest() -> float:
        return max(path.stat().st_mtime for folder in folders for path in Path(folder).rglob("*.py"))

    stamp = await asyncio.to_thread(newest)
    while True:
        await asyncio.sleep(1)
        if await asyncio.to_thread(newest) != stamp:
            changed()
