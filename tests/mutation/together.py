"""Puts many changes into one build: each is made where it is, and takes effect in a process
whose environment names it. Two thousand builds would take days.

What cannot be put there (a field left out, what is worked out while compiling) is left out.
"""

import json
import os
import re
import subprocess

try:
    import tree_sitter_rust
    from tree_sitter import Language, Parser
except ImportError:
    raise SystemExit("the sources cannot be read: `pip install tree-sitter tree-sitter-rust`")

# Read once by each process; 0 is no change.
SWITCH = """//! Which change is in effect, and which could have been.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The number of the change, 0 for none. Asked where it is made, at `place`: the first time, that
/// is noted in the file that the environment names, if it does.
pub fn at(place: usize) -> u32 {
    static ACTIVE: OnceLock<u32> = OnceLock::new();
    static REACHED: OnceLock<Option<File>> = OnceLock::new();
    static PLACES: [AtomicBool; 16384] = [const { AtomicBool::new(false) }; 16384];
    if !PLACES[place].load(Relaxed) && !PLACES[place].swap(true, Relaxed) {
        let file = REACHED.get_or_init(|| {
            let path = std::env::var_os("MUTANTS_REACHED")?;
            OpenOptions::new().create(true).append(true).open(path).ok()
        });
        if let Some(mut file) = file.as_ref() {
            let _ = file.write_all(format!("{place}\\n").as_bytes());
        }
    }
    *ACTIVE.get_or_init(|| {
        std::env::var("MUTANT").ok().and_then(|number| number.parse().ok()).unwrap_or(0)
    })
}
"""


class Place:
    """A piece of code that some changes replace, each with other text."""

    def __init__(self, node, number):
        self.node, self.instead, self.number = node, {}, number

    def active(self):
        return f"crate::mutation::at({self.number})"


class File:
    """A source file, with the places that are to be changed in it."""

    def __init__(self, path):
        self.path, self.text = path, path.read_bytes()
        self.lines = [0, *(match.end() for match in re.finditer(b"\n", self.text))]
        self.tree = Parser(Language(tree_sitter_rust.language())).parse(self.text)
        self.places = {}

    def offset(self, position):
        start = self.lines[position["line"] - 1]
        line = self.text[start:].split(b"\n", 1)[0].decode()
        return start + len(line[: position["column"] - 1].encode())

    def add(self, mutant):
        """Whether the change can be made here."""
        span = mutant["span"]
        start, end = self.offset(span["start"]), self.offset(span["end"])
        node = self.tree.root_node.descendant_for_byte_range(start, max(start, end - 1))
        while node is not None and not self.fits(node, mutant["genre"], start):
            node = node.parent
        if node is None:
            return False
        place = self.places.setdefault(node.id, Place(node, mutant["number"]))
        place.instead[mutant["number"]] = (mutant["genre"], mutant["replacement"])
        mutant["place"] = place.number
        return True

    def fits(self, node, genre, start):
        if genre == "FnValue":
            return node.type == "function_item"
        if genre in ("BinaryOperator", "UnaryOperator"):
            kinds = ("binary_expression", "compound_assignment_expr", "unary_expression")
            return node.type in kinds and any(one.start_byte == start for one in node.children if not one.is_named)
        if genre in ("MatchArm", "MatchArmGuard"):
            return node.type == "match_arm"
        return False

    def written(self, dropped):
        return self.render(self.tree.root_node, dropped)

    def render(self, node, dropped, without=None):
        """The text of a node, with all that is changed in it."""
        place = None if node.id == without else self.places.get(node.id)
        live = {} if place is None else {
            number: one for number, one in place.instead.items() if number not in dropped
        }
        if not live:
            return self.spliced(node, {}, dropped)
        return marked(live, self.changed(node, live, dropped))

    def spliced(self, node, instead, dropped):
        """The text of a node; of some children, other text."""
        if not node.children:
            return instead.get(node.id, node.text.decode())
        text, at = "", node.start_byte
        for child in node.children:
            text += self.text[at : child.start_byte].decode()
            text += instead.get(child.id) or self.render(child, dropped)
            at = child.end_byte
        return text + self.text[at : node.end_byte].decode()

    def changed(self, node, live, dropped):
        plain = self.spliced(node, {}, dropped)
        active = self.places[node.id].active()
        if node.type == "function_item":
            body = node.child_by_field_name("body")
            arms = " ".join(
                f"{number} => {marked([number], f'return {value}')}," for number, (_, value) in live.items()
            )
            whole = self.spliced(body, {}, dropped)
            begun = f"{{ match {active} {{ {arms} _ => {{}} }} {whole[1:]}"
            return self.spliced(node, {body.id: begun}, dropped)
        if node.type == "match_arm":
            return self.arm(node, live, dropped)
        operator = next(one for one in node.children if not one.is_named)
        arms = []
        for number, (genre, value) in live.items():
            # What stands for nothing must still be a text.
            other = self.spliced(node, {operator.id: value or " "}, dropped)
            arms.append(f"{number} => {marked([number], f'{{ {other} }}')}")
        return f"(match {active} {{ {' '.join(arms)} _ => {{ {plain} }} }})"

    def arm(self, node, live, dropped):
        pattern = node.child_by_field_name("pattern")
        guard = pattern.child_by_field_name("condition")
        condition = "true" if guard is None else self.render(guard, dropped)
        guards = {number: value for number, (genre, value) in live.items() if genre == "MatchArmGuard"}
        deletes = [number for number, (genre, _) in live.items() if genre == "MatchArm"]
        arms = " ".join(
            [f"{number} => {value}," for number, value in guards.items()]
            + [f"{number} => false," for number in deletes]
        )
        chosen = f"match {self.places[node.id].active()} {{ {arms} _ => {{ {condition} }} }}"
        if guard is None:
            return self.spliced(node, {pattern.id: f"{self.render(pattern, dropped)} if {chosen}"}, dropped)
        return self.spliced(node, {pattern.id: self.spliced(pattern, {guard.id: f"{{ {chosen} }}"}, dropped)}, dropped)


def functions(text):
    """A source file without what its functions do, and of each function where it begins and what
    it does. Functions within functions are a part of what those do."""
    tree = Parser(Language(tree_sitter_rust.language())).parse(text)
    found, rest, at = [], b"", 0

    def look(node):
        nonlocal rest, at
        body = node.child_by_field_name("body") if node.type == "function_item" else None
        if body is None:
            for child in node.children:
                look(child)
            return
        line = text.rfind(b"\n", 0, node.start_byte) + 1
        column = len(text[line : node.start_byte].decode()) + 1
        start = {"line": text.count(b"\n", 0, node.start_byte) + 1, "column": column}
        found.append((start, body.text.decode()))
        rest += text[at : body.start_byte]
        at = body.end_byte

    look(tree.root_node)
    return rest + text[at:], found


def marked(numbers, text):
    """A text that belongs to these changes."""
    return f"/*<{','.join(str(number) for number in numbers)}*/{text}/*>*/"


def put_together(tree, mutants, environment):
    """Makes the changes in the sources under `tree`, so that they compile. Those that do, each
    with the number of the place where it is made."""
    files = {}
    for number, one in enumerate(mutants, 1):
        file = files.setdefault(one["file"], None) or File(tree / one["file"])
        files[one["file"]] = file
        one.setdefault("number", number)
        one["fits"] = file.add(one)
    (tree / "peer/src/mutation.rs").write_text(SWITCH)
    face = tree / "peer/src/lib.rs"
    # What a change makes of a number may be nonsense; it is never worked out without the change.
    allowed = "#![allow(warnings, arithmetic_overflow, unconditional_panic)]\n"
    face.write_text(f"{allowed}{face.read_text()}\n/// Which change is in effect.\npub mod mutation;\n")
    dropped = set()
    while True:
        for file in files.values():
            file.path.write_text(file.written(dropped))
        wrong = errors(tree, environment)
        if not wrong:
            return [one for one in mutants if one["fits"] and one["number"] not in dropped]
        blamed = set().union(*(blame(tree, places) for places in wrong)) - dropped
        print(f"{len(wrong)} errors, {len(blamed)} changes left out for them", flush=True)
        if not blamed:
            raise SystemExit(f"the changes do not build together: {wrong[0]}")
        dropped |= blamed


def errors(tree, environment):
    """Of each thing that the compiler finds wrong, the places: file, offset, and whether it is
    the one, or only has to do with it."""
    command = ["cargo", "check", "--quiet", "--package", "ops-proxy", "--message-format=json"]
    said = subprocess.run(command, cwd=tree, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    found = []
    for line in said.stdout.splitlines():
        message = json.loads(line).get("message")
        if not message or message.get("level") != "error":
            continue
        spans = []
        for span in message["spans"]:
            while span.get("expansion") and span["file_name"].startswith("/"):
                span = span["expansion"]["span"]
            # Some are of the standard library.
            if not span["file_name"].startswith("/"):
                spans.append((span["file_name"], span["byte_start"], span["is_primary"]))
        found.append(spans)
    if said.returncode and not found:
        raise SystemExit(said.stderr.decode())
    return found


def blame(tree, places):
    """The changes around the places of an error; if there are none, those of its neighbourhood."""
    for is_primary in (True, False):
        blamed = set().union(*(around(tree, *one[:2]) for one in places if one[2] is is_primary))
        if blamed:
            return blamed
    near = [(tree / file).read_bytes()[max(0, at - 600) : at + 600] for file, at, _ in places]
    return set().union(*(numbers(mark) for text in near for mark in re.findall(rb"/\*<([\d,]+)\*/", text)))


def around(tree, file, offset):
    open_places = []
    for mark in re.finditer(rb"/\*<([\d,]+)\*/|/\*>\*/", (tree / file).read_bytes()):
        if mark.start() > offset:
            break
        if mark[1]:
            open_places.append(mark[1])
        else:
            open_places.pop()
    return numbers(open_places[-1]) if open_places else set()


def numbers(mark):
    return {int(number) for number in mark.split(b",")}
