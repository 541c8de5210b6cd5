"""`meadow study`."""

from __future__ import annotations

from pathlib import Path

import click

from meadow.cli.app import Finish, dry_run_option, json_option, log


@click.command()
@click.argument("name")
@click.option("--raw", type=click.Path(path_type=Path), required=True, help="The raw files.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The study's folder.")
@dry_run_option
@json_option
def study(name: str, raw: Path, out: Path, dry_run: bool, as_json: bool) -> None:
    """Run a whole study, from raw files to the report.

    NAME is a study of the project or a TOML file, which maps each source to its files below --raw.
    What is finished is not computed again; a study that was killed continues.
    """
    from pipelines.study import plan_study, run_study
    from pipelines.study_config import load_study

    finish = Finish(as_json=as_json)
    plan = load_study(name)
    if dry_run:
        rows = plan_study(plan)
        if not as_json:
            click.echo(
                f"{'arm':<24}{'asks':<16}{'method':<12}{'mix':<16}{'steps':>7}{'minutes':>9}"
            )
            for row in rows:
                steps = row["steps"] or (f"{row['epochs']} ep" if row["epochs"] else "-")
                click.echo(
                    f"{row['arm']:<24}{' '.join(row['questions']):<16}{row['method']:<12}"
                    f"{row['mix'] or '-':<16}{steps:>7}{row['estimated_seconds'] / 60:>9.1f}"
                )
            total = sum(row["estimated_seconds"] for row in rows) / plan.concurrency / 60
            click.echo(f"about {total:.0f} minutes, {plan.concurrency} arms at a time")
            if plan.machine:
                click.echo(f"estimated for {plan.machine}")
        finish({"arms": rows})
        return
    document = run_study(plan, raw, out, say=log)
    for question in document["questions"]:
        for answer in question["answers"]:
            log(f"{question['name']} {answer}")
    log(f"the report: {out / 'report.html'}, {out / 'report.md'}")
    finish(document)
