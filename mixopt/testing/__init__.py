"""What a part added by another package must do: suites of checks that its tests call.

Each check takes what is checked and raises ``AssertionError`` with a sentence. With pytest::

    @pytest.mark.parametrize("check", EXPORTER_CONTRACT, ids=lambda check: check.__name__)
    def test_contract(check):
        check(MY_EXPORTER)
"""

from __future__ import annotations

from mixopt.testing.exporter_contract import EXPORTER_CONTRACT

__all__ = ["EXPORTER_CONTRACT"]
