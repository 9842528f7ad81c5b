"""What `hub:owner/name@revision` means: a repository, a version of it, and what is known of that version.

Knows nothing of networks and of what the rows look like.
"""

import re
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import yaml
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from ...hub.reaching import split_revision

PREFIX = "hub:"
KNOWN: dict[str, dict[str, Any]] = yaml.safe_load(
    resources.files(__package__).joinpath("known.yaml").read_text(encoding="utf-8")
)
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubSet:
    """
    A version of a data set on the Hub.

    Attributes:
        repo_id: owner/name.
        revision: branch, tag or commit; None = the newest.
        splits: of a known version, split → `rows`, and where they are known `referents`, `expressions` and `note`;
            empty for others.
    """

    repo_id: str
    revision: str | None = None
    splits: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def named(cls, name: str) -> "HubSet":
        """
        Args:
            name: "owner/name" or "owner/name@revision", with or without "hub:" before it. A known set without a
                revision is the pinned version.

        Raises:
            ValueError: neither.
        """
        repo_id, revision = split_revision(name.removeprefix(PREFIX))
        try:
            validate_repo_id(repo_id)
            if repo_id.count("/") != 1 or revision == "":
                raise HFValidationError
        except HFValidationError as error:
            raise ValueError(
                f"{name!r} is no data set on the Hub: give hub:owner/name or hub:owner/name@revision, such as "
                f"hub:{next(iter(KNOWN))}."
            ) from error
        # The Hub takes either case; a set must not escape its counts by its spelling.
        repo_id = next((known for known in KNOWN if known.casefold() == repo_id.casefold()), repo_id)
        known = KNOWN.get(repo_id, {})
        if not known or revision not in (None, known["revision"]):
            return cls(repo_id, revision)
        return cls(repo_id, known["revision"], known["splits"])

    @property
    def commit(self) -> str | None:
        """The revision if it is a commit, whose content never changes."""
        return self.revision if self.revision and _COMMIT.fullmatch(self.revision) else None

    def require_split(self, split: str) -> None:
        """
        Check a split's name, as far as they are known.

        Raises:
            ValueError: a known set does not have it.
        """
        if self.splits and split not in self.splits:
            raise ValueError(f"{self.repo_id} has no split {split!r}: give one of {', '.join(self.splits)}.")


__all__ = ["KNOWN", "PREFIX", "HubSet"]
