from alembic.config import Config
from alembic.script import ScriptDirectory

from infra.postgres.revisions import MIGRATIONS, newest_revision


def test_the_newest_revision_is_alembics_head() -> None:
    """The number in a migration's file name stands in for its place in alembic's chain."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert newest_revision() == ScriptDirectory.from_config(config).get_current_head()
