"""``attach(cerebro)``: everything at once, and the guard around ``run()``.

An exception or Ctrl-C skips ``Strategy.stop`` and ``Analyzer.stop``, so only something around ``run()`` sees how a run
ends. Nothing else of the Cerebro is touched, and what hangs on it pickles by name.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from bt_alerts.hooks.analyzer import AlertAnalyzer
from bt_alerts.hooks.gate import Override, check_override
from bt_alerts.hooks.guard import log, never_raises
from bt_alerts.hooks.observer import AlertObserver
from bt_alerts.hooks.seam import bt, other_engine
from bt_alerts.hooks.session import ATTRIBUTE, Session

if TYPE_CHECKING:
    from bt_alerts.manager import AlertManager
    from bt_alerts.settings.watches import WatchLevel


class GuardedRun:
    """Stands in for ``cerebro.run``: the same call, with a beginning and an end that nothing can skip."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        session = self.session
        with never_raises("a run began"):
            session.begin()
        try:
            return type(session.cerebro).run(session.cerebro, *args, **kwargs)
        except BaseException as exc:
            session.failed(exc)
            raise
        finally:
            session.end()


def attach(
    cerebro: Any,
    config: Any = None,
    *,
    plot: bool = False,
    live: Override = "auto",
    watches: Iterable[WatchLevel] = (),
    **overrides: Any,
) -> AlertManager:
    """Give every strategy of a Cerebro alerts, without any code in the strategy.

    Args:
        cerebro: the Cerebro, before or after strategies and feeds were added.
        config: path of a YAML file, a mapping, a settings object or a ``ConfigManager``; None for the environment and
            ``$BT_ALERTS_CONFIG``.
        plot: add :class:`AlertObserver`, which marks alerts on the price charts. It adds columns to writers.
        live: ``auto``, ``always`` or ``never``, or a mapping by symbol, where the feed's own word is not to be taken.
        watches: levels to watch besides those of the settings, each made by :func:`bt_alerts.watch`.
        overrides: top-level settings, such as ``store="alerts.db"``, ``mode="record"``, ``alerts={...}``.

    Returns:
        The manager. ``with attach(cerebro) as manager:`` closes it at the end.

    Raises:
        SettingsError: where the settings are wrong; every error at once.
        ValueError: where ``live`` says something else.
    """
    from bt_alerts.manager import AlertManager

    check_override(live)
    levels = _levels(watches)
    if not isinstance(cerebro, bt.Cerebro):
        why = other_engine(cerebro)
        raise TypeError(f"attach(cerebro, config): the first argument is a bt.Cerebro, not {cerebro!r}{why}")
    known: Session | None = cerebro.__dict__.get(ATTRIBUTE)
    if known is not None and known.guarded:
        if config is not None or overrides or levels:
            log.warning("alerts are attached to this Cerebro already; the second attach() changes nothing")
        return known.manager
    manager = AlertManager.for_run(config, **overrides)
    if known is not None:  # of a run with the mixin or the analyzer alone
        known.leave()
    session = Session(cerebro, manager, live, guarded=True, watches=levels)
    cerebro.__dict__["run"] = GuardedRun(session)
    cerebro.addanalyzer(AlertAnalyzer)
    added = [(cerebro.analyzers, cerebro.analyzers[-1])]
    if plot:
        cerebro.addobservermulti(AlertObserver)
        added.append((cerebro.observers, cerebro.observers[-1]))

    def detach() -> None:
        del cerebro.__dict__["run"]
        session.leave()
        for entries, mine in added:
            entries[:] = [entry for entry in entries if entry is not mine]

    manager.on_close(detach)
    return manager


def _levels(watches: Iterable[WatchLevel]) -> list[WatchLevel]:
    from bt_alerts.settings.watches import WatchLevel

    levels = [watches] if isinstance(watches, WatchLevel) else list(watches)
    for level in levels:
        if not isinstance(level, WatchLevel):
            raise TypeError(
                f'watches= takes what bt_alerts.watch(...) makes, such as [watch("drawdown", above=10)], not {level!r}'
            )
    return levels
