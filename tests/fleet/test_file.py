"""The fleet file: what it can contain, and how its mistakes are reported."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.archive.bag import PAYLOAD
from runbook_lib.catalogue import Exit, Reason
from runbook_lib.errors import RunbookError
from runbook_lib.fleet.file import Fleet, HostBudget, Shard, read_fleet, slug

SAMPLE = Path(__file__).parents[2] / "parameters" / "fleet.yaml"


def fleet(tmp_path: Path, content: str, name: str = "fleet.yaml") -> Fleet:
    (tmp_path / name).write_text(content, encoding="utf-8")
    return read_fleet(tmp_path / name)


def refused(tmp_path: Path, content: str, name: str = "fleet.yaml") -> RunbookError:
    with pytest.raises(RunbookError) as caught:
        fleet(tmp_path, content, name)
    assert caught.value.exit is Exit.USAGE
    assert name in caught.value.what
    return caught.value


def test_the_sample_says_every_setting_with_its_default():
    sample = read_fleet(SAMPLE)
    told = SAMPLE.read_text(encoding="utf-8")
    for name, field in Fleet.model_fields.items():
        assert f"{name}:" in told
        if name not in ("accounts", "parameters"):
            assert getattr(sample, name) == field.default, name
    assert len(sample.accounts) > 1


def test_an_account_s_own_parameters_win_over_everybody_s(tmp_path: Path):
    found = fleet(
        tmp_path,
        "notebook: verify\nparameters: {environment: demo, due_days: 60}\naccounts:\n"
        "- account: One\n  api_key: env:ONE\n- account: two\n  environment: production\n",
    )
    assert [found.given(one) for one in found.accounts] == [
        {"environment": "demo", "due_days": 60, "api_key": "env:ONE"},
        {"environment": "production", "due_days": 60},
    ]
    assert found.notebook == "verify"


def test_a_csv_file_has_an_account_a_line_and_its_values_are_text(tmp_path: Path):
    content = 'account,environment,api_key,due_days\r\n"Smith, Ltd",demo,file:/run/a,60\r\n\r\n0012,,env:B,\r\n'
    found = fleet(tmp_path, "\ufeff" + content, "accounts.csv")
    assert [(one.account, one.parameters) for one in found.accounts] == [
        ("Smith, Ltd", {"environment": "demo", "api_key": "file:/run/a", "due_days": "60"}),
        ("0012", {"api_key": "env:B"}),
    ]
    assert found.notebook == "inventory"
    semicolons = fleet(tmp_path, "account;api_key\nA;env:A\n", "european.csv")
    assert semicolons.accounts[0].parameters == {"api_key": "env:A"}


def test_a_yaml_file_may_name_the_csv_file_beside_it(tmp_path: Path):
    (tmp_path / "accounts.csv").write_text("account,api_key\na,env:A\nb,env:B\n")
    found = fleet(tmp_path, "parameters: {environment: demo}\naccounts: accounts.csv\n")
    assert [found.given(one) for one in found.accounts][1] == {"environment": "demo", "api_key": "env:B"}
    (tmp_path / "accounts.csv").write_text("account,api_key\na,env:A\na,env:B\n")
    with pytest.raises(RunbookError, match=r"accounts.csv, line 3, account 'a': the same account as in line 2"):
        read_fleet(tmp_path / "fleet.yaml")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("accounts:\n- account: a\n- account: b\n- account: a\n", "line 4, account 'a': the same account as in line 2"),
        ("accounts:\n- account: a\n- api_key: env:A\n", "line 3: account: missing"),
        ("accounts:\n- account: 12\n", "line 2: account: must be text; YAML reads it as a number. Write it in quotes"),
        (
            "accounts:\n- account: no\n",
            "line 2: account: must be text; YAML reads unquoted NO, no, off and false",
        ),
        (
            "accounts:\n- {account: b, n: 1}\n- {account: B, n: 2}\n",
            "line 3, account 'B': looks like the account in line 2",
        ),
        (
            "accounts:\n- {account: M\u00fcller, n: 1}\n- {account: Mu\u0308ller, n: 2}\n",
            "line 3, account 'Mu\u0308ller': looks like the account in line 2",
        ),
        (
            "accounts:\n- {account: ops 1, n: 1}\n- {account: ops\uff11, n: 2}\n- {account: ops  1, n: 3}\n",
            "line 4, account 'ops  1': looks like the account in line 2",
        ),
        (
            "parameters: {n: 1}\naccounts:\n- {account: a, api_key: 'env:A'}\n- {account: b, n: 1, api_key: 'env:A'}\n",
            "line 4, account 'b': has the same parameters as the account in line 3",
        ),
        ('accounts:\n- account: "a\\u202eb"\n', "line 2"),
        ("accounts:\n- account: a\n  api key: env:A\n", "line 2, account 'a': 'api key' cannot be a parameter's name"),
        ("accounts:\n- a\n", "line 2"),
        ("accounts: []\n", "accounts: "),
        ("notebok: verify\naccounts: [{account: a}]\n", "notebok: unknown setting"),
        ("budget: {at_once: 0}\naccounts: [{account: a}]\n", "budget.at_once: "),
        (
            "accounts:\n- account: a\n  api_key: env:A\n  api_key: env:B\n",
            "line 4: `api_key` is already in line 3",
        ),
        ("accounts:\n- account: a\n bad", "is not YAML in line 3"),
        ("accounts: 12\n", "accounts: must be a list"),
        ("api_keys: a\n", "accounts: missing"),
        ("", "is not a fleet file"),
        ("- account: a\n", "is not a fleet file"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_account(tmp_path: Path, content: str, told: str):
    error = refused(tmp_path, content)
    assert told in error.what
    assert error.reason is Reason.BAD_PARAMETER
    assert error.remedy


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("name,api_key\na,env:A\n", "line 1: the header"),
        ("account,api_key,api_key\na,env:A,env:B\n", "line 1: the header"),
        ("account,api_key\na,env:A,more\n", "line 2: 3 cells, but the header has 2"),
        ('account,api_key\n"a"b,env:A\n', "line 2: malformed CSV"),
        ("account,api_key\na,env:A\na,env:A\n", "line 3, account 'a': the same account as in line 2"),
        ("account,api_key\n,env:A\n", "line 2: account: must have 1 to 200"),
        ("account,api_key\n", "accounts: "),
    ],
)
def test_so_is_a_mistake_in_a_csv_file(tmp_path: Path, content: str, told: str):
    assert told in refused(tmp_path, content, "accounts.csv").what


@pytest.mark.parametrize("name", ["0012", "1_000", "0x1F", "1:30", "2026-01-01", "+5", "1e3", ".5", "-.inf"])
def test_a_name_that_yaml_would_read_as_a_number_or_a_date_stays_what_is_written(tmp_path: Path, name: str):
    found = fleet(tmp_path, f"parameters: {{due_days: 60, share: 0.5}}\naccounts:\n- account: {name}\n  name: {name}\n")
    assert found.accounts[0].account == name
    assert found.given(found.accounts[0]) == {"due_days": 60, "share": 0.5, "name": name}


def test_a_tab_is_told_from_other_mistakes(tmp_path: Path):
    assert "spaces" in refused(tmp_path, "accounts:\n\t- account: a\n").remedy
    assert "tab" not in refused(tmp_path, "accounts:\n- account: a\n bad").remedy


def test_every_mistake_is_told_at_once_up_to_twenty(tmp_path: Path):
    error = refused(tmp_path, "accounts:\n" + "".join(f"- account: a{i}\n  b c: 1\n" for i in range(30)))
    assert error.what.count("\n") == 20
    assert "… and 10 more" in error.what


SECRET = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    "content",
    [
        f"accounts:\n- account: a\n- account: b\n  api_key: {SECRET}\n",
        f"parameters: {{p12_password: {SECRET}}}\naccounts: [{{account: a}}]\n",
        f"accounts:\n- account: '{'a' * 26}_{'b' * 64}'\n",
    ],
)
def test_a_secret_in_the_file_refuses_it_and_is_not_repeated(tmp_path: Path, content: str):
    error = refused(tmp_path, content)
    assert error.reason is Reason.SECRET_AS_VALUE
    assert SECRET not in str(error)
    assert "bbbb" not in str(error)


def test_a_file_that_is_not_there_or_no_text_is_told(tmp_path: Path):
    with pytest.raises(RunbookError, match="No such file"):
        read_fleet(tmp_path / "none.yaml")
    (tmp_path / "latin.csv").write_bytes(b"account\nM\xfcller\n")
    with pytest.raises(RunbookError, match="UTF-8"):
        read_fleet(tmp_path / "latin.csv")


@given(st.lists(st.text(min_size=1, max_size=60), min_size=2, max_size=20, unique=True))
def test_no_two_accounts_have_one_folder_and_each_is_a_name_a_bag_can_hold(names: list[str]):
    folders = [slug(name) for name in names]
    assert len({folder.lower() for folder in folders}) == len(names)
    assert all(PAYLOAD.fullmatch(f"accounts/{folder}/report.html") for folder in folders)


@given(st.sets(st.text(min_size=1, max_size=30), min_size=1, max_size=50), st.integers(1, 9))
def test_each_account_is_in_exactly_one_shard_whoever_else_is_there(names: set[str], of: int):
    shards = [Shard.parse(f"{number}/{of}") for number in range(1, of + 1)]
    assert [sum(shard.has(name) for shard in shards) for name in names] == [1] * len(names)


def test_shards_are_of_about_one_size():
    sizes = [sum(Shard(number, 4).has(f"account {i}") for i in range(4000)) for number in (1, 2, 3, 4)]
    assert sum(sizes) == 4000
    assert min(sizes) > 900


def test_the_parts_of_a_batch_share_its_budget():
    whole = HostBudget(starts_per_second=10, at_once=8)
    parts = [Shard(number, 4).share(whole) for number in (1, 2, 3, 4)]
    assert sum(part.starts_per_second for part in parts) == whole.starts_per_second
    assert sum(part.at_once for part in parts) == whole.at_once
    assert Shard().share(whole) == whole
    assert Shard(9, 9).share(whole).at_once == 1  # a part without a run would never end


@pytest.mark.parametrize("text", ["", "1", "0/4", "5/4", "1/0", "a/b", "1/4 ", "-1/4"])
def test_another_shard_is_refused(text: str):
    with pytest.raises(RunbookError, match="write I/N"):
        Shard.parse(text)


SPREADSHEET = [["account", "environment", "api_key"], ["Müller", "demo", "env:A"], ["0012", "", "env:B"]]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("empty", [0, 1, 3])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_what_a_spreadsheet_exports_is_read(tmp_path: Path, delimiter: str, encoding: str, empty: int, end: str):
    """With the empty columns, byte order marks, tabs and line ends that Excel and LibreOffice write."""
    file = tmp_path / "accounts.csv"
    file.write_bytes("".join(delimiter.join(row + [""] * empty) + end for row in SPREADSHEET).encode(encoding))
    assert [(one.account, one.parameters) for one in read_fleet(file).accounts] == [
        ("Müller", {"environment": "demo", "api_key": "env:A"}),
        ("0012", {"api_key": "env:B"}),
    ]


def test_a_file_that_names_its_separator_is_read_by_it(tmp_path: Path):
    found = fleet(tmp_path, "sep=|\r\naccount|api_key|\r\na,b|env:A|\r\n", "accounts.csv")
    assert found.accounts[0].account == "a,b"
    assert "line 4: 1 cell, but" in refused(tmp_path, "sep=;\naccount;api_key\na;env:A\nb\n", "accounts.csv").what


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("account,,api_key\na,,env:A\n", "line 1: the header must name"),
        ("account,api_key,\na,env:A,left over\n", "line 2: 3 cells"),
        ("account,api_key,\na\n", "line 2: 1 cell, but"),
        ("account,if\na,1\n", "'if' cannot be a parameter's name"),
        (",,\n,,\n", "line 1: the header must name"),
        ("account,api_key\na\0b,env:A\n", "line 2"),
    ],
)
def test_a_cell_that_has_no_column_is_refused_with_its_line(tmp_path: Path, content: str, told: str):
    assert told in refused(tmp_path, content, "accounts.csv").what


@pytest.mark.parametrize("name", ["a\\0b.csv", "~nobody2/a.csv", "", "x" * 5000])
def test_the_name_of_a_csv_file_that_no_file_can_have_is_told(tmp_path: Path, name: str):
    assert refused(tmp_path, f'accounts: "{name}"\n').reason is Reason.BAD_PARAMETER
