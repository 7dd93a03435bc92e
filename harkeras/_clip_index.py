"""The file `clips.csv` of a folder of cut clips: which range of which video became which clip."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter, defaultdict
from pathlib import Path

from harkeras._annotation_formats import Annotation

INDEX_NAME = "clips.csv"
_FIELDS = ("clip", "video", "start_seconds", "end_seconds", "label", "person", "group_by")
_GROUPS = {"video": lambda row: row["video"], "person": lambda row: row["person"]}


def class_of(label: str) -> str:
    """Spell a label as UCF does, "playing cricket" as "PlayingCricket"; empty without letters and digits."""
    words = re.findall(r"[^\W_]+", re.sub(r"['’]", "", label))  # noqa: RUF001
    return "".join(word[0].upper() + word[1:] for word in words)


def _range_key(annotation: Annotation) -> tuple[float, float, str]:
    return float(annotation.start_seconds), float(annotation.end_seconds), annotation.label


class ClipIndex:
    """Gives every range a clip's name of its own, which it keeps in later runs.

    A row is written before its clip, so that no clip is ever without one; a row whose clip is missing,
    because the run was interrupted, is cut again under the same name. Numbers of groups that other files in
    the folder bear are not used again.
    """

    def __init__(self, folder: Path, group_by: str):
        self.folder, self.group_by = folder, group_by
        self._file = folder / INDEX_NAME
        self._rows: dict[str, dict[tuple, dict[str, str]]] = defaultdict(dict)
        self._groups: dict[str, int] = {}
        self._clips: Counter = Counter()  # (class, group) -> highest number of a clip
        found = [re.search(r"_g(\d+)_", path.name) for path in folder.rglob("*_g*_*")]
        self._last_group = max((int(match[1]) for match in found if match), default=0)
        self._read()

    def has(self, annotation: Annotation) -> bool:
        """Tell whether the clip of a range is finished."""
        row = self._rows[annotation.video_key].get(_range_key(annotation))
        return row is not None and (self.folder / row["clip"]).is_file()

    def path(self, annotation: Annotation) -> Path:
        """Return the clip of a range; where there is none yet, choose its name and write it down."""
        rows, key = self._rows[annotation.video_key], _range_key(annotation)
        if key not in rows:
            start, end, label = key
            row = {"video": annotation.video_key, "start_seconds": repr(start), "end_seconds": repr(end)}
            row |= {"label": label, "person": annotation.person, "group_by": self.group_by}
            group = self._groups.get(_GROUPS[self.group_by](row), self._last_group + 1)
            name = class_of(label)
            number = self._clips[name, group] + 1
            row["clip"] = f"{name}/v_{name}_g{group:02d}_c{number:02d}.mp4"
            self._keep(row)
            if self._file.exists():
                with self._file.open("a", newline="", encoding="utf-8") as file:
                    csv.DictWriter(file, _FIELDS).writerow(row)
            else:
                self._save()
        return self.folder / rows[key]["clip"]

    def forget(self, annotation: Annotation) -> None:
        """Take back the name of a clip that could not be written."""
        del self._rows[annotation.video_key][_range_key(annotation)]
        self._save()

    def others(self, video: str, annotations: list[Annotation]) -> list[str]:
        """Return the clips of a video that belong to none of these ranges."""
        wanted = {_range_key(annotation) for annotation in annotations}
        clips = [row["clip"] for key, row in self._rows[video].items() if key not in wanted]
        return [clip for clip in clips if (self.folder / clip).is_file()]

    def _read(self) -> None:
        if not self._file.exists():
            return
        text = self._file.read_text(encoding="utf-8")
        reader = csv.DictReader(io.StringIO(text, newline=""))
        if tuple(reader.fieldnames or ()) != _FIELDS:
            raise ValueError(f"{self._file} is no list of clips that harkeras wrote; choose another folder")
        # A row that a crash cut off is the last one, and has no clip yet.
        rows = [row for row in reader if row["group_by"] in _GROUPS]
        for row in rows:
            if row["group_by"] != self.group_by:
                raise ValueError(
                    f"group_by must be {row['group_by']!r} as for the clips in {self.folder}, got "
                    f"{self.group_by!r}; choose another folder for it"
                )
            self._keep(row)
        if not text.endswith("\n") or len(rows) < reader.line_num - 1:
            self._save()

    def _keep(self, row: dict[str, str]) -> None:
        key = float(row["start_seconds"]), float(row["end_seconds"]), row["label"]
        self._rows[row["video"]][key] = row
        group, clip = map(int, re.search(r"_g(\d+)_c(\d+)\.mp4$", row["clip"]).groups())
        name = row["clip"].partition("/")[0]
        self._groups[_GROUPS[self.group_by](row)] = group
        self._last_group = max(self._last_group, group)
        self._clips[name, group] = max(self._clips[name, group], clip)

    def _save(self) -> None:
        """Write the whole file anew."""
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self._file.with_name(f".{INDEX_NAME}.part")
        with partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, _FIELDS)
            writer.writeheader()
            writer.writerows(row for rows in self._rows.values() for row in rows.values())
        partial.replace(self._file)
