"""The only writers of domains, users and groups: keyword arguments, one transaction, audit row, bus message
on commit.
"""

from accounts.services.domains import create_domain, primary_domain
from accounts.services.groups import (
    add_member,
    add_members,
    create_group,
    delete_group,
    remove_member,
    search_groups,
    set_admin,
    set_members,
    update_group,
)
from accounts.services.importing import Row, Status, import_users, read_users
from accounts.services.login import (
    LINK_LIFETIME,
    LoginRefused,
    authenticate,
    consume_login_link,
    login_failed,
    login_succeeded,
    make_login_link,
    may_try,
    unblock,
)
from accounts.services.search import Page, UserFilters, filtered_users, search_users
from accounts.services.users import (
    Seen,
    check_password_policy,
    create_user,
    delete_user,
    lock_user,
    record_logins,
    record_seen,
    set_password,
    set_role,
    unlock_user,
    update_user,
)

__all__ = [
    "LINK_LIFETIME",
    "LoginRefused",
    "Page",
    "Row",
    "Seen",
    "Status",
    "UserFilters",
    "add_member",
    "add_members",
    "authenticate",
    "check_password_policy",
    "consume_login_link",
    "create_domain",
    "create_group",
    "create_user",
    "delete_group",
    "delete_user",
    "filtered_users",
    "import_users",
    "lock_user",
    "login_failed",
    "login_succeeded",
    "make_login_link",
    "may_try",
    "primary_domain",
    "read_users",
    "record_logins",
    "record_seen",
    "remove_member",
    "search_groups",
    "search_users",
    "set_admin",
    "set_members",
    "set_password",
    "set_role",
    "unblock",
    "unlock_user",
    "update_group",
    "update_user",
]
