"""Names of files that usually hold secrets: they are left out where a folder is attached. Pure."""

from fnmatch import fnmatchcase
from typing import Final

_SECRET: Final = (
    # Keys and certificates with keys.
    *("*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "*.gpg", "*.asc"),
    *("id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "*.ppk", "*.ovpn"),
    # Passwords and tokens that programs keep.
    *(".env", ".env.*", "*.env", ".netrc", "_netrc", ".pgpass", ".my.cnf", ".htpasswd"),
    *(".npmrc", ".pypirc", ".git-credentials", ".dockercfg", "credentials", "credentials.*"),
    *("secrets.*", "*.tfstate", "*.tfvars", "service-account*.json", "kubeconfig"),
)
_PUBLIC: Final = ("*.pub", "*.example", "*.sample", "*.template")


def looks_secret(name: str) -> bool:
    """Return whether a file of this name usually holds a secret."""
    name = name.lower()
    if any(fnmatchcase(name, each) for each in _PUBLIC):
        return False
    return any(fnmatchcase(name, each) for each in _SECRET)
