"""Whose calls they are, as messages name them and the keys that would mend things."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Owner:
    """Who asks an endpoint.

    Example:
        >>> JUDGES.key("max_calls"), STUDENT.key("max_calls")
        ('max_calls', 'student_max_calls')
    """

    name: str
    possessive: str
    prefix: str = ""
    """Of its keys in the configuration."""
    place: str = ""
    """Where these stand, if it isn't the job's configuration."""

    def key(self, name: str) -> str:
        """Return what a key is called."""
        return f"{self.prefix}{name}"


JUDGES = Owner(name="judges", possessive="judges'", place=" in the judges' configuration")
STUDENT = Owner(name="student", possessive="student's", prefix="student_")
