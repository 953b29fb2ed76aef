"""ejabberd: lean, with Debian's modules (modern), these without archive, and with it in SQLite."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from .server import PEERS, WORK, Server, fill

SQLITE_SCHEMA = Path("/usr/share/ejabberd/sql/lite.sql")


class Ejabberd(Server):
    name = "ejabberd"
    port, tls_port = 26011, 26012
    configs = ["lean", "modern", "modern-nomam", "modern-sqlite"]
    program = "ejabberdctl"

    def command(self, *, setup: bool) -> list[str]:
        kind, _, variant = self.config.partition("-")
        values = {
            "TLS": str(WORK / "tls"),
            "CERT": "ec",
            "PORT": str(self.port),
            "TLSPORT": str(self.tls_port),
            "EXTRA": "  mod_register: {ip_access: all, password_strength: 0, access: all}\n" if setup else "",
            "MAMDB": "",
        }
        if variant == "sqlite":
            database = self.data / "mam.db"
            values["MAMDB"] = ", db_type: sql"
            values["EXTRA"] += f"sql_type: sqlite\nsql_database: {database}\n"
            if not database.exists():
                subprocess.run(["sqlite3", database], input=SQLITE_SCHEMA.read_bytes(), check=True)
        values["COMMON"] = fill((PEERS / "ejabberd" / "common.yml").read_text(), values)
        text = fill((PEERS / "ejabberd" / f"{kind}.yml").read_text(), values)
        if variant == "nomam":
            text = re.sub(r"(?m)^  mod_mam:.*\n", "", text).replace("mam: true", "mam: false")
        (self.folder / "ejabberd.yml").write_text(text)
        (self.folder / "inetrc").write_text(
            '{lookup,["file","native"]}.\n{host,{127,0,0,1}, ["localhost","hostalias"]}.\n'
        )
        # What ejabberdctl does, without distribution: nothing may listen outside 127.0.0.1.
        erlang = ["erl", "+K", "true", "+P", "250000", "-mnesia", "dir", f'"{self.data}"']
        return [*erlang, "-ejabberd", "log_rotate_count", "0", "-s", "ejabberd", "-noinput"]

    def environment(self) -> dict[str, str]:
        return {
            "ERL_LIBS": "/usr/lib/x86_64-linux-gnu",
            "ERL_INETRC": str(self.folder / "inetrc"),
            "ERL_MAX_PORTS": "32000",
            "ERL_MAX_ETS_TABLES": "1400",
            "ERL_CRASH_DUMP_BYTES": "0",
            "EJABBERD_CONFIG_PATH": str(self.folder / "ejabberd.yml"),
            "EJABBERD_LOG_PATH": str(self.folder / "ejabberd.log"),
            "EJABBERD_PID_PATH": str(self.folder / "ejabberd.pid"),
            "HOME": str(self.folder),
        }
