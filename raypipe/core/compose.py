"""Composing a job's configuration with Hydra: this file and `core.sweep`, its grammar of sweeps, import Hydra.

The search path is the user's conf folder first, then the packaged one, so a user's `experiment/mine.yaml` stands
beside raypipe's own groups. A value override may name any setting: whether it exists is decided when the parts are
built, where all settings and their types are known and a misspelling gets a suggestion.
"""

import copy
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import raypipe
from raypipe.core.errors import ConfigError
from raypipe.core.naming import did_you_mean

_SECRET = re.compile(r"(^|_)(token|password|passwd|secret|api_?key|access_?key|credentials?|private_?key)($|_)", re.I)
_FROM_OUTSIDE = re.compile(r"\$\{\s*oc\.env\s*:")
_URL_PASSWORD = re.compile(r"(?P<user>[a-z][a-z0-9+.-]*://[^/\s:@]*):[^/\s@]+@", re.I)
_NO_OPTION = re.compile(
    r"Could not find '(?P<group>[^']+)/(?P<option>[^'/]+)'\n\nAvailable options in '[^']+':\n(?P<options>(?:\t.*\n)+)"
)
MASK = "***"
_TARGET = "_target_"


@dataclass(frozen=True, kw_only=True)
class Groups:
    """The config groups of a composition.

    Attributes:
        chosen: The option of each group, by its name as in an override.
        options: The options that each of them has.
    """

    chosen: Mapping[str, str]
    options: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class Composition:
    """How a job's configuration is composed, for doing it again with more overrides.

    Attributes:
        job: Name of the primary configuration.
        fixed: Overrides of every composition.
        conf_dir: The conf folder that was named; None takes what `user_conf_dir` finds.
    """

    job: str
    fixed: tuple[str, ...] = ()
    conf_dir: str | None = None

    @cached_property
    def groups(self) -> Groups:
        """The groups of the composition with the fixed overrides alone."""
        return groups(self.job, self.fixed, conf_dir=self.conf_dir)

    @cached_property
    def _bases(self) -> dict[tuple[str, ...], DictConfig]:
        return {}

    def compose(self, lines: Sequence[str] = ()) -> dict[str, Any]:
        """Resolved plain settings with `lines` after the fixed overrides.

        Hydra composes once for each combination of groups; single settings are put in as Hydra does, in a fifth of the time.

        Raises:
            ConfigError: naming the override, group or option that is wrong, or settings without a value.
        """
        return to_plain(self._composed(lines))

    def redacted(self, lines: Sequence[str] = ()) -> dict[str, Any]:
        """The same with secrets masked."""
        return redacted(self._composed(lines))

    def _composed(self, lines: Sequence[str]) -> DictConfig:
        chosen = tuple(line for line in lines if key_of(line) in self.groups.options)
        if chosen not in self._bases:
            self._bases[chosen] = compose(self.job, [*self.fixed, *chosen], conf_dir=self.conf_dir)
        cfg = copy.deepcopy(self._bases[chosen])
        for override in OverridesParser.create().parse_overrides([line for line in lines if line not in chosen]):
            OmegaConf.update(cfg, override.key_or_group, override.value(), merge=True, force_add=True)
        return cfg

    def for_job(self, job: str, *, without: str) -> "Composition":
        """The same for another job, less the overrides of the part `without`."""
        kept = tuple(line for line in self.fixed if key_of(line).split(".")[0] != without)
        return replace(self, job=job, fixed=kept)

    def command(self, lines: Sequence[str] = ()) -> str:
        """What composes the same in a shell where this runs, but for secrets, which are masked."""
        program = ["python", f"jobs/{self.job}.py"] if Path("jobs", f"{self.job}.py").is_file() else ["raypipe", self.job]
        named = ["--config-dir", self.conf_dir] if self.conf_dir else []
        shown = [_masked(line) for line in (*self.fixed, *lines)]
        return shlex.join([*program, *named, *shown])


def packaged(folder: str) -> Path:
    """`conf` or `jobs`: beside the package in a checkout, inside it in a wheel."""
    package = Path(raypipe.__file__).resolve().parent
    inside, beside = package / folder, package.parent / folder
    return inside if inside.is_dir() else beside


def user_conf_dir(named: str | None = None) -> Path | None:
    """The user's conf folder: `named`, else ``$RAYPIPE_CONF_DIR``, else ``./conf`` when there is one.

    Raises:
        ConfigError: when a named folder does not exist.
    """
    choice = named or os.environ.get("RAYPIPE_CONF_DIR")
    if choice:
        if not Path(choice).is_dir():
            raise ConfigError([f"config folder {choice} does not exist"])
        return Path(choice).resolve()
    local = Path.cwd() / "conf"
    return local.resolve() if local.is_dir() else None


def compose(job: str, overrides: Sequence[str] = (), *, conf_dir: str | None = None) -> DictConfig:
    """Compose the primary configuration of `job` with `overrides`, unresolved.

    Raises:
        ConfigError: naming the override, group or option that is wrong.
    """
    with _Loader(job, conf_dir) as loader:
        cfg = _load(loader, job, overrides)
        hidden = [problem for line in overrides if (problem := _hidden(line, overrides, cfg, loader, job))]
    if hidden:
        raise ConfigError(hidden)
    OmegaConf.set_struct(cfg, value=False)
    cfg.pop("hydra", None)
    return cfg


def groups(job: str, overrides: Sequence[str] = (), *, conf_dir: str | None = None) -> Groups:
    """The groups of `job` composed with `overrides`, Hydra's own apart.

    Raises:
        ConfigError: as `compose`.
    """
    with _Loader(job, conf_dir) as loader:
        chosen = _load(loader, job, overrides).hydra.runtime.choices
        own = {str(group): str(chosen[group]) for group in chosen if not str(group).startswith("hydra/")}
        return Groups(chosen=own, options={group: tuple(loader.get_group_options(group.split("@")[0])) for group in own})


def key_of(line: str) -> str:
    """The setting or group that the override `line` names."""
    return line.split("=", 1)[0].lstrip("+~")


def _load(loader: ConfigLoader, job: str, overrides: Sequence[str]) -> DictConfig:
    try:
        parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))
        lines = [_as_override(override, loader) for override in parsed]
        return loader.load_configuration(config_name=job, overrides=lines, run_mode=RunMode.RUN, from_shell=False)
    except OverrideParseException as error:
        way_out = "put a value with special characters in quotes inside quotes: 'SETTING=\"VALUE\"'"
        raise ConfigError([f"{error.override}: is not a valid override; {way_out}"]) from error
    except yaml.MarkedYAMLError as error:
        raise ConfigError([_where(error)]) from error
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise ConfigError([_explain(error)]) from error


def _hidden(line: str, overrides: Sequence[str], cfg: DictConfig, loader: ConfigLoader, job: str) -> str:
    """What is wrong with the choice `line` of a group's option, of which the experiment's file makes something else."""
    key, choices = key_of(line), cfg.hydra.runtime.choices
    is_chosen = choices.get(key) is not None and choices.get("experiment") is not None and isinstance(cfg.get(key), DictConfig)
    if not is_chosen or sum(key_of(other) in (key, f"{key}.{_TARGET}") for other in overrides) > 1:
        return ""
    known = _load(loader, job, []).hydra.runtime.choices
    alone = _load(loader, job, [line if key in known else f"+{line.lstrip('+')}"]).get(key)
    found, chosen = cfg[key].get(_TARGET), alone.get(_TARGET) if isinstance(alone, DictConfig) else None
    if chosen is None or found == chosen:
        return ""
    way_out = f"move these to conf/{key}/NAME.yaml, and choose them there with override /{key}: NAME"
    return f"{line}: experiment {choices['experiment']} writes its own settings of {found} over it; {way_out}"


def to_plain(cfg: DictConfig) -> dict[str, Any]:
    """Resolved plain mappings, ready for `core.config.build`.

    Raises:
        ConfigError: listing every setting that still is ``???``, or an interpolation that does not resolve.
    """
    try:
        missing = sorted(OmegaConf.missing_keys(cfg))
        if missing:
            raise ConfigError(
                [f"no value for {', '.join(missing)}; choose an experiment with experiment=NAME, or add SETTING=VALUE"]
            )
        plain = OmegaConf.to_container(cfg, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError([_explain(error)]) from error
    return {str(k): v for k, v in plain.items()} if isinstance(plain, dict) else {}


def redacted(cfg: DictConfig) -> dict[str, Any]:
    """Resolved settings with secrets masked: by name, by coming from the environment, and passwords in URLs."""
    raw, resolved = OmegaConf.to_container(cfg, resolve=False), OmegaConf.to_container(cfg, resolve=True)
    masked = _mask(raw, resolved, "")
    return dict(masked) if isinstance(masked, dict) else {}


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Scalars under dotted names, lists as text: the form that experiment trackers take."""
    out: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            out |= flat(value, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = value if isinstance(value, (str, int, float, bool)) or value is None else str(value)
    return out


class _Loader:
    """Hydra's configuration loader over the user's and the packaged conf; leaves Hydra's global state as it was."""

    def __init__(self, job: str, conf_dir: str | None) -> None:
        self._job, self._own, self._user = job, packaged("conf"), user_conf_dir(conf_dir)

    def __enter__(self) -> ConfigLoader:
        self._saved = GlobalHydra.instance().hydra
        GlobalHydra.instance().clear()
        path = create_config_search_path(str(self._own))
        if self._user is not None and self._user != self._own:
            path.prepend("user", f"file://{self._user}", anchor=SearchPathQuery(provider="main"))
        return Hydra.create_main_hydra2(task_name=self._job, config_search_path=path).config_loader

    def __exit__(self, *_: object) -> None:
        GlobalHydra.instance().hydra = self._saved


def _as_override(override: Override, loader: ConfigLoader) -> str:
    line = str(override.input_line)
    if override.is_sweep_override():
        raise ConfigError([f"{line}: a sweep of several values; one run takes one value for each setting"])
    if override.key_or_group.split(".")[0].split("/")[0] == "hydra":
        raise ConfigError([f"{line}: Hydra's own settings have no effect here; raypipe composes and runs by itself"])
    if override.is_delete() or loader.get_group_options(override.key_or_group):
        return line
    return f"++{line.lstrip('+')}"


def _where(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    place = "" if mark is None else f" in {mark.name}, line {mark.line + 1}"
    return f"{error.problem or error.context or 'not YAML'}{place}"


def _explain(error: BaseException) -> str:
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    no_option = _NO_OPTION.search(str(cause))
    if no_option is not None:
        options = [line.strip() for line in no_option["options"].splitlines()]
        near = did_you_mean(no_option["option"], options)
        return f"{no_option['group']}={no_option['option']}: there is no such option{near} (options: {', '.join(options)})"
    noise = ("full_key", "object_type", "search path", "provider=", "To append", "Set the env")
    lines = [line.strip() for line in str(cause).splitlines()]
    return " ".join(line for line in lines if line and not any(word in line for word in noise))[:400]


def _masked(line: str) -> str:
    key, _, value = line.partition("=")
    return f"{key}={MASK}" if value and _SECRET.search(key.rpartition(".")[2]) else _URL_PASSWORD.sub(r"\g<user>:***@", line)


def _mask(raw: Any, value: Any, key: str) -> Any:
    if isinstance(value, dict):
        return {k: _mask(raw.get(k) if isinstance(raw, dict) else None, v, str(k)) for k, v in value.items()}
    if isinstance(value, list):
        raws = raw if isinstance(raw, list) and len(raw) == len(value) else [None] * len(value)
        return [_mask(r, v, key) for r, v in zip(raws, value, strict=True)]
    if value in (None, ""):
        return value
    if _SECRET.search(key) or (isinstance(raw, str) and _FROM_OUTSIDE.search(raw)):
        return MASK
    return _URL_PASSWORD.sub(r"\g<user>:***@", value) if isinstance(value, str) else value
