"""XEP-0030: Service Discovery, with the domain's capabilities hash (XEP-0115) and forms (XEP-0128).

What is advertised is what the modules declare; another module serves a node by its method `disco_node`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Sequence

from xmppd.protocol import caps, dataforms, rsm
from xmppd.protocol.element import E, Element
from xmppd.protocol.errors import StanzaError
from xmppd.protocol.jid import JID
from xmppd.protocol.namespaces import CAPS, DISCO_INFO, DISCO_ITEMS, RSM
from xmppd.protocol.stanza import Stanza
from xmppd.protocol.writer import write
from xmppd.server.account import Account
from xmppd.server.module import (
    ACCOUNT,
    NOBODY,
    SELF,
    SERVER,
    DiscoItem,
    DiscoNode,
    Identity,
    Module,
    Xep,
    iq_get,
)
from xmppd.server.session import Session

# XEP-0115 4: a URI that stands for the software. Nobody can be led astray by a URN that has no host in it.
CAPS_NODE = "urn:hearth:server"
MAX_NODE_CHARS = 3071  # RFC 7622 bounds a whole JID so; a longer node is nobody's
PAGE_ITEMS = 1000  # items in one answer, whatever was asked


class Disco(Module):
    """Answers for the domain and, instead of their clients, for the bare JIDs of accounts."""

    xep = Xep(30, "2.5.0", name="Service Discovery")
    also = [
        Xep(115, "1.6.0", name="Entity Capabilities"),
        Xep(128, "1.0.1", name="Service Discovery Extensions"),
    ]
    features = [DISCO_INFO, DISCO_ITEMS, CAPS, RSM]
    identities = [Identity("server", "im", "Hearth")]
    account_features = [DISCO_INFO, DISCO_ITEMS, RSM]
    account_identities = [Identity("account", "registered")]

    async def start(self) -> None:
        self._hashed: tuple[DiscoNode, str, str] | None = None  # what was hashed, its forms as text, the hash

    # -- the domain

    @iq_get(DISCO_INFO, "query", to=SERVER)
    def domain_info(self, iq: Stanza, origin: Session) -> Element | Awaitable[Element]:
        node = _node(iq)
        domain = self.domain_node(iq.to)
        if not node or node == f"{CAPS_NODE}#{self.caps_hash()}":
            return info(domain, node)
        return self._node_info(iq, node)

    @iq_get(DISCO_ITEMS, "query", to=SERVER)
    def domain_items(self, iq: Stanza, origin: Session) -> Element | Awaitable[Element]:
        node = _node(iq)
        if node:
            return self._node_items(iq, node)
        return items(iq.payload, self.domain_node(iq.to).items)

    def domain_node(self, domain: JID) -> DiscoNode:
        """What the domain has: all that its modules declare, and the services at addresses of their own."""
        modules = self.server.modules
        return DiscoNode(
            identities=_unique(identity for module in modules for identity in module.identities),
            features=sorted({feature for module in modules for feature in module.domain_features()}),
            forms=[form for module in modules for form in module.domain_forms()],
            items=[DiscoItem(JID.parse(name)) for name in self._services_of(domain.domain)],
        )

    def _services_of(self, domain: str) -> list[str]:
        """Each service stands under the domain that its own is part of, else under the primary one."""
        chosen = []
        for name in sorted(self.server.services):
            parents = [parent for parent in self.server.domains if name.endswith(f".{parent}")]
            if domain == max(parents, key=len, default=self.server.domain):
                chosen.append(name)
        return chosen

    # -- accounts, XEP-0030 8: who may not see the presence learns no more than about a missing account

    @iq_get(DISCO_INFO, "query", to=[ACCOUNT, SELF])
    async def account_info(self, iq: Stanza, origin: Session) -> Element:
        account = await self.server.directory.load(iq.to)
        if account is None or not account.may_be_seen_by(iq.from_):
            raise StanzaError("service-unavailable")
        node = _node(iq)
        return info(self.account_node(account), "") if not node else await self._node_info(iq, node)

    @iq_get(DISCO_ITEMS, "query", to=[ACCOUNT, SELF])
    async def account_items(self, iq: Stanza, origin: Session) -> Element:
        account = await self.server.directory.load(iq.to)
        if account is None or not account.may_be_seen_by(iq.from_):
            return self.no_items(iq, origin)
        node = _node(iq)
        if node:
            return await self._node_items(iq, node)
        return items(iq.payload, self.account_node(account).items)

    @iq_get(DISCO_ITEMS, "query", to=NOBODY)
    def no_items(self, iq: Stanza, origin: Session) -> Element:
        return E(DISCO_ITEMS, "query", node=_node(iq) or None)

    def account_node(self, account: Account) -> DiscoNode:
        modules = self.server.modules
        return DiscoNode(
            identities=_unique(identity for module in modules for identity in module.account_identities),
            features=sorted({feature for module in modules for feature in module.account_features}),
            items=[DiscoItem(session.jid) for session in account.available],
        )

    # -- nodes that other modules have

    async def _node_info(self, iq: Stanza, node: str) -> Element:
        return info(await self._find_node(iq, node), node)

    async def _node_items(self, iq: Stanza, node: str) -> Element:
        return items(iq.payload, (await self._find_node(iq, node)).items, node)

    async def _find_node(self, iq: Stanza, node: str) -> DiscoNode:
        if len(node) <= MAX_NODE_CHARS:
            for module in self.server.modules:
                found = module.disco_node(node, iq.to, iq.from_)
                if found is not None and not isinstance(found, DiscoNode):
                    found = await found
                if found is not None:
                    return found
        raise StanzaError("item-not-found")

    # -- capabilities, XEP-0115

    def caps_hash(self) -> str:
        """The verification string of the domain's disco#info; computed anew when that has changed."""
        node = self.domain_node(self.server.jid)
        forms = "".join(map(write, node.forms))
        if self._hashed is not None:
            known, known_forms, known_hash = self._hashed
            if (known.identities, known.features, known_forms) == (node.identities, node.features, forms):
                return known_hash
        computed = caps.ver(
            [caps.Identity(each.category, each.type, each.name) for each in node.identities],
            node.features,
            [dataforms.values_of(form) for form in node.forms],
        )
        self._hashed = (node, forms, computed)
        return computed

    def stream_offers(self, has: int) -> bytes:
        """6.3: a client that knows the hash need not ask."""
        return write(E(CAPS, "c", hash="sha-1", node=CAPS_NODE, ver=self.caps_hash())).encode()


def info(node: DiscoNode, name: str = "") -> Element:
    """The answer to disco#info; `name` is the node that was asked for, which is mirrored (XEP-0030 3.2)."""
    return E(
        DISCO_INFO,
        "query",
        *(
            E(DISCO_INFO, "identity", category=each.category, type=each.type, name=each.name or None)
            for each in node.identities
        ),
        *(E(DISCO_INFO, "feature", var=feature) for feature in node.features),
        *node.forms,
        node=name or None,
    )


def items(query: Element, found: Sequence[DiscoItem], name: str = "") -> Element:
    """The answer to disco#items; in pages for those who ask so, and where it would be too large (7.2)."""
    page: Element | None = None
    request = rsm.parse(query)
    if request is not None or len(found) > PAGE_ITEMS:
        found, page = rsm.page(found, _item_id, request, default=PAGE_ITEMS, maximum=PAGE_ITEMS)
    return E(
        DISCO_ITEMS,
        "query",
        *(
            E(DISCO_ITEMS, "item", jid=each.jid, node=each.node or None, name=each.name or None)
            for each in found
        ),
        page,
        node=name or None,
    )


def _node(iq: Stanza) -> str:
    return iq.payload.get("node")


def _item_id(item: DiscoItem) -> str:
    return f"{item.jid}\n{item.node}" if item.node else str(item.jid)


def _unique(identities: Iterable[Identity]) -> list[Identity]:
    """XEP-0030 3.1: no two with the same category and type."""
    return list({(each.category, each.type): each for each in identities}.values())
