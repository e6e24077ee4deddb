"""A procedure of one step, whose table is as long as a test asks for."""

from __future__ import annotations

from runbook_lib.inventories.long_tables import result_tables
from runbook_lib.procedures.parameters import InventoryParameters
from runbook_lib.procedures.procedure import Procedure, check
from runbook_lib.result import Result, Verdict
from runbook_lib.schema import FLAG, INTEGER, MOMENT, TEXT, Schema
from runbook_lib.tables import tables_folder

WALLS = Schema("walls", {"name": TEXT, "state": ("fine", "bare"), "coats": INTEGER, "dry": MOMENT, "inside": FLAG})


class Walls(Procedure[InventoryParameters]):
    """One step that makes a table with as many rows as `requests_per_second` says. The last one has missing values."""

    slug = "walls"
    notebook = "walls"
    model = InventoryParameters
    tables = (WALLS,)

    @check("Count the walls")
    def count(self) -> Result:
        rows = [
            (f"=wall {number}", ("bare", "fine")[number % 2], str(number), "2027-01-02T03:04:05Z", "yes")
            for number in range(self.parameters.requests_per_second - 1)
        ]
        rows.append(("<b>last</b>", "bare", "", "", "unknown"))
        shown = result_tables(tables_folder(self.session.environ), WALLS, "Walls", rows, head=rows[:3])
        return Result(verdict=Verdict.OK, headline="Counted.", tables=shown.tables, beside=shown.beside)
