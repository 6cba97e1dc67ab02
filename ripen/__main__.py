"""The `ripen` command: what a user types. Neither line: it starts both and speaks to them over HTTP."""

import click

from ripen import command_backup, command_bench, command_feedback, command_keys, command_models, command_up, commands
from ripen.options import Commands

SECTIONS = {
    "Start": ("up", "sample"),
    "Ask": ("predict",),
    "Teach": ("label", "feedback", "review", "import", "examples", "retrain", "jobs", "cancel"),
    "Versions": ("models", "versions", "promote", "rollback", "pin", "unpin", "delete"),
    "Look after": ("keys", "audit", "backup", "restore", "doctor", "bench"),
}


@click.group(cls=Commands, sections=SECTIONS, context_settings={"max_content_width": 100})
@click.version_option(package_name="ripen", message="%(version)s")
def main() -> None:
    """Ripen: a binary image classifier that keeps learning.

    Start everything on this machine with `ripen up`, then use the other commands in another terminal. Exit status: 0
    done, 1 the service said no, 2 wrong usage, 3 no service answers.
    """


for command in (
    command_up.up,
    commands.sample,
    commands.predict,
    commands.label,
    command_feedback.feedback,
    command_feedback.review,
    commands.import_folder,
    commands.examples,
    commands.retrain,
    commands.jobs,
    commands.cancel,
    commands.versions,
    commands.promote,
    commands.rollback,
    command_keys.keys,
    command_keys.audit,
    command_models.models,
    command_models.pin,
    command_models.unpin,
    command_models.delete,
    command_backup.backup,
    command_backup.restore,
    command_backup.doctor,
    command_bench.bench,
):
    main.add_command(command)

if __name__ == "__main__":
    main(prog_name="ripen")
