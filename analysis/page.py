"""Write a page of the report: a text, a table, or the runs behind a figure; its tables sort at a click.

    python -m analysis.page --title "Main table" --text results/tables/main.md --table results/tables/main.csv \\
        --output rerun/report/main_table.html
    python -m analysis.page --title "Data of cartpole_main" --runs results/runs/*/cartpole/*.csv --output data.html

The page is one HTML file that loads nothing. `--runs` lists for every run where it comes from (its file and digest, the
commit and the device that trained it) and what is drawn of it: at each iteration the mean over seeds and its 95%
bootstrap interval, before any running mean.
"""

import html
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import tyro
from markdown_it import MarkdownIt

import envs
from analysis.runs import POLICIES, Run, description, read_run
from analysis.statistics import band
from envs.errors import Failure, UsageError, run_command_line
from envs.files import sha256, write_text

STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; color: #1a1a1a; margin: 1rem; max-width: 60rem }
body:has(table.wide) { max-width: none }
.scroll { overflow-x: auto; max-height: 85vh; margin: 0.8rem 0 }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: 0.2rem 0.5rem; text-align: left; vertical-align: top; border-bottom: 1px solid #ddd }
th { position: sticky; top: 0; background: #f2f2f2 }
th button { all: unset; cursor: pointer; font-weight: 600 }
th button:focus-visible { outline: 2px solid #0072B2 }
th[aria-sort=ascending] button::after { content: " \\2191" }
th[aria-sort=descending] button::after { content: " \\2193" }
a.download { font-size: 0.9em }
code { background: #f2f2f2 }
"""
# Cells that begin with a number are ordered by it ("−10,112 [−13,647, −6,169]" too), others by their letters; empty
# cells stay last.
SCRIPT = r"""
const number = text => parseFloat(text.replaceAll("−", "-").replaceAll(",", ""));
function compare(a, b) {
  const [x, y] = [number(a), number(b)];
  if (!isNaN(x) && !isNaN(y)) return x - y;
  return isNaN(x) - isNaN(y) || a.localeCompare(b);
}
function sort(table, column, header) {
  const down = header.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", down ? "descending" : "ascending");
  const rows = [...table.tBodies[0].rows].map(row => [row.cells[column]?.textContent.trim() ?? "", row]);
  rows.sort(([a], [b]) => !a - !b || (down ? compare(b, a) : compare(a, b)));
  table.tBodies[0].append(...rows.map(([, row]) => row));
}
function csv(table) {
  const quote = text => /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  const line = row => [...row.cells].map(cell => quote(cell.textContent.trim())).join(",") + "\n";
  return [...table.rows].map(line).join("");
}
for (const link of document.querySelectorAll("a.download")) {
  const content = () => csv(link.nextElementSibling.querySelector("table"));
  link.addEventListener("click", () => { link.href = "data:text/csv;charset=utf-8," + encodeURIComponent(content()); });
}
for (const table of document.querySelectorAll("table")) {
  [...table.tHead.rows[0].cells].forEach((header, column) => {
    const button = document.createElement("button");
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => sort(table, column, header));
  });
}
"""


@dataclass
class Args:
    """Write one page."""

    title: str
    """the page's heading"""
    output: Path
    """the .html to write"""
    text: Path | None = None
    """a Markdown file to show; links out of it are left away"""
    table: Path | None = None
    """a CSV file to show with all its columns"""
    runs: tuple[Path, ...] = ()
    """run files: .../<protocol>/<env>/<arm>.csv"""


def rendered(text: str) -> str:
    """Return Markdown as HTML; raw HTML in it is shown as text, and so are links, which would lead out of the page."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table").disable(["link", "autolink", "image"])
    text = re.sub(r"!?\[([^]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"\A# .*\n", "", text)  # the page has a title of its own
    return markdown.render(text).replace("<table>", '<div class="scroll"><table>').replace("</table>", "</table></div>")


def table_html(table: pd.DataFrame, name: str) -> str:
    """Return a table of text as HTML, with a link to download it as the CSV file `name`.

    Closing tags of rows and cells are left out, as HTML allows: there can be 10,000 of them.
    """
    head = "".join(f"<th>{html.escape(str(column))}" for column in table.columns)
    rows = "\n".join("<tr><td>" + "<td>".join(map(html.escape, row)) for row in table.itertuples(index=False))
    kind = ' class="wide"' if table.shape[1] > 8 else ""
    return (
        f'<a class="download" download="{html.escape(name)}" href="#">Download {html.escape(name)}</a>\n'
        f'<div class="scroll"><table{kind}><thead><tr>{head}</thead>\n<tbody>\n{rows}\n</tbody></table></div>'
    )


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV file as it is written, every cell a text; raise Failure where it is none."""
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except ValueError as error:  # of pandas' parser, or an encoding that is not UTF-8
        raise Failure(f"{path} cannot be read as a table ({error}).") from error


def origin(path: Path) -> dict[str, str]:
    """Return what the .json beside a run says of how it was made."""
    content = description(path)
    if not content:
        return {}
    seconds = content.get("seconds")
    return {
        "made by": content["algorithm"],
        "from": content.get("source") or str(content["arguments"].get("dataset") or "no data"),
        "SHA-256 of that": (content.get("source_sha256") or content.get("dataset_sha256") or "")[:16],
        "commit": (content.get("git_commit") or "")[:12],
        "device": content.get("device") or "",
        "seconds": "" if seconds is None else f"{seconds:.0f}",
    }


def runs_table(runs: list[Run]) -> pd.DataFrame:
    """Return a row for each run: which it is, what came out, where it comes from."""
    rows = []
    for run in runs:
        row = {
            "environment": envs.get(run.env).title,
            "protocol": run.protocol,
            "arm": run.arm,
            "setting": run.details,
            "seeds": str(run.table.seed.nunique()),
            "repeats": str(run.table.repeat.nunique()),
            "episodes" if run.arm in POLICIES else "iterations": str(run.iterations),
            "mean return": f"{run.mean_return():.6g}",
            "file": str(run.path),
            "SHA-256 of the file": sha256(run.path)[:16],
        }
        rows.append(row | origin(run.path))
    return pd.DataFrame(rows).fillna("")


def curves_table(runs: list[Run]) -> pd.DataFrame:
    """Return the curves: a row for each iteration, for each run the mean over seeds and its interval, if it has one.

    Of two runs of one name, the second is told by its folder.
    """
    several = len({run.env for run in runs}) > 1
    columns = {}
    for run in runs:
        if run.arm in POLICIES:
            continue
        returns = run.curves()
        name = " ".join(part for part in (run.env if several else "", run.path.stem, run.protocol) if part)
        if name in columns:
            name += f" ({run.path.parents[2]})"
        columns[name] = returns.mean(axis=0)
        if len(returns) > 1 and run.protocol != "published":  # as in the figures: one chain has no interval
            columns[f"{name}, low"], columns[f"{name}, high"] = band(returns)
    longest = max(map(len, columns.values()), default=0)
    table = {"iteration": [str(iteration) for iteration in range(longest)]}
    for name, values in columns.items():
        padded = np.pad(values, (0, longest - len(values)), constant_values=np.nan)
        table[name] = ["" if np.isnan(value) else f"{value:.5g}" for value in padded]
    return pd.DataFrame(table)


def page(title: str, sections: list[str]) -> str:
    """Return the whole HTML document."""
    body = "\n".join(sections)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{html.escape(title)}</h1>
{body}
<script>{SCRIPT}</script>
</body>
</html>
"""


def main() -> None:
    """Write the page."""
    args = tyro.cli(Args)
    if not (args.text or args.table or args.runs):
        raise UsageError("There is nothing to show: give --text, --table or --runs.")
    sections = []
    if args.text:
        sections.append(rendered(args.text.read_text(encoding="utf-8")))
    if args.table:
        sections += [f"<h2>All columns: {html.escape(str(args.table))}</h2>"]
        sections += [table_html(read_table(args.table), args.table.name)]
    if args.runs:
        runs = [read_run(path) for path in args.runs]
        sections += ["<h2>Runs</h2>", table_html(runs_table(runs), f"{args.output.stem}_runs.csv")]
        note = (
            "Mean over seeds of each evaluation's return, with the 95% bootstrap interval where seeds are independent."
        )
        sections += ["<h2>Curves</h2>", f"<p>{note}</p>"]
        sections += [table_html(curves_table(runs), f"{args.output.stem}_curves.csv")]
    write_text(args.output, page(args.title, sections))


if __name__ == "__main__":
    run_command_line(main)
