"""Prosody: lean, with Debian's modules (modern), these without archive, and on libevent."""

from __future__ import annotations

from .server import PEERS, WORK, Server, fill


class Prosody(Server):
    name = "prosody"
    port, tls_port = 26001, 26002
    configs = ["lean", "lean-event", "modern", "modern-nomam"]
    program = "prosody"

    def command(self, *, setup: bool) -> list[str]:
        kind, _, variant = self.config.partition("-")
        values = {
            "RUN": str(self.folder),
            "DATA": str(self.data),
            "TLS": str(WORK / "tls"),
            "CERT": "ec",
            "PORT": str(self.port),
            "TLSPORT": str(self.tls_port),
            "BACKEND": "event" if variant == "event" else "epoll",
            "EXTRA": ', "register", "register_ibr"' if setup else "",
            "REG": "true" if setup else "false",
        }
        values["COMMON"] = fill((PEERS / "prosody" / "common.lua").read_text(), values)
        text = fill((PEERS / "prosody" / f"{kind}.cfg.lua").read_text(), values)
        if variant == "nomam":
            text = text.replace('"mam", ', "").replace('"muc_mam"', "")
        path = self.folder / "prosody.cfg.lua"
        path.write_text(text)
        return ["prosody", "-F", "--config", str(path)]
