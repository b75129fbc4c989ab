// `contained completion`: scripts of shells, from the table of commands.
import { KINDS } from '../options/namespaces.js';
import { aliasesOf, entriesOf, isFamily, type Command, type Entry, type Family } from './command.js';
import type { Flag, Values } from './flag.js';

export const SHELLS = ['bash', 'zsh'] as const;
export type Shell = typeof SHELLS[number];

const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

/** All entries with their paths, `cgroup create`; the family of all has none. */
function walk(entry: Entry, path: readonly string[] = []): { path: string; entry: Entry }[] {
  const below = isFamily(entry) ? entriesOf(entry).flatMap(([name, next]) => walk(next, [...path, name])) : [];
  return [{ path: path.join(' '), entry }, ...below];
}

const HELP: Flag<object> = { name: 'help', section: 'Flags', option: '', help: 'what it does and takes', read: () => ({}) };

const flagsOf = ({ flags }: Command<object>): Flag<object>[] => [...flags, HELP];
const wordsOf = ({ name, short, aliases = [] }: Flag<object>): string[] => [`--${name}`, ...aliases.map(alias => `--${alias}`), ...short === undefined ? [] : [`-${short}`]];

/** In the scripts: a kind is a word, and what is to be chosen from is a list behind `=`. */
const kindOf = (values: Values | undefined): string => values === undefined ? 'any' : typeof values === 'string' ? values : `=${values.join(' ')}`;

/** Arms of a `case`, those of the same body in one. */
function arms(pairs: readonly { pattern: string; body: string }[]): string {
  const patterns = new Map<string, string[]>();
  for (const { pattern, body } of pairs) patterns.set(body, [...patterns.get(body) ?? [], quoted(pattern)]);
  return [...patterns].map(([body, list]) => `    ${list.join('|')}) ${body};;`).join('\n');
}

/** Both shells understand these: what a flag takes, what the words of a command are, which word leads to which path. */
function tables(table: Family): string {
  const all = walk(table);
  const commands = all.flatMap(({ path, entry }) => isFamily(entry) ? [] : [{ path, command: entry }]);
  const flags = commands.flatMap(({ path, command }) => flagsOf(command).filter(flag => flag.argument !== undefined)
    .flatMap(flag => wordsOf(flag).map(word => ({ pattern: `${path} ${word}`, body: `kind=${quoted(kindOf(flag.argument === undefined ? undefined : flag.values))}` }))));
  const words = commands.flatMap(({ path, command }) => (command.words ?? []).map((values, i, list) =>
    ({ pattern: `${path} ${i < list.length - 1 ? i : '*'}`, body: `kind=${quoted(kindOf(values))}` })));
  const steps = all.flatMap(({ path, entry }) => isFamily(entry) ? entriesOf(entry).flatMap(([name, next]) =>
    [name, ...aliasesOf(next)].map(word => ({ pattern: `${path} ${word}`, body: `at=${quoted(`${path} ${name}`.trimStart())}` }))) : []);
  const families = all.filter(({ entry }) => isFamily(entry)).map(({ path }) => quoted(path)).join('|');
  const ending = commands.filter(({ command }) => command.command).map(({ path }) => quoted(path)).join('|');
  return `# What the flag $2 of the command $1 takes.
_contained_flag() {
  kind=
  case "$1 $2" in
${arms(flags)}
  esac
}

# What word $2 of the command $1 is.
_contained_word() {
  kind=
  case "$1 $2" in
${arms(words.filter(({ pattern }) => !pattern.endsWith(' *')))}
    *) case "$1" in
${arms(words.filter(({ pattern }) => pattern.endsWith(' *')).map(({ pattern, body }) => ({ pattern: pattern.slice(0, -2), body })))}
    esac;;
  esac
}

# Where the word $2 leads to from the command $1.
_contained_step() {
  case "$1 $2" in
${arms(steps)}
    *) return 1;;
  esac
}

_contained_family() { case "$1" in ${families}) ;; *) return 1;; esac }

# Whether the flags of the command $1 end with the first of its words.
_contained_ends() { case "$1" in ${ending}) ;; *) return 1;; esac }`;
}

/** What can stand at each place, with what it is for where the shell shows that. */
function choices(table: Family, list: (name: string, about: string) => string): string {
  return arms(walk(table).map(({ path, entry }) => ({
    pattern: path,
    body: `list=(${(isFamily(entry) ? [...entriesOf(entry).map(([name, { about }]) => list(name, about)), ...path === '' ? [list('--version', 'the version'), list('--help', HELP.help)] : [list('--help', HELP.help)]]
      : flagsOf(entry).flatMap(flag => wordsOf(flag).map(word => list(word, flag.help)))).join(' ')})`,
  })));
}

const bash = (table: Family): string => `# bash completion for contained, by \`contained completion bash\`

${tables(table)}

_contained_list() {
  case "$1" in
${choices(table, name => name)}
  esac
}

_contained_give() {
  local front=
  case $1 in
    file) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur");;
    directory) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$cur");;
    command) mapfile -t COMPREPLY < <(if [[ $cur == */* ]]; then compgen -f -- "$cur"; else compgen -c -- "$cur" | sort -u; fi);;
    commands) _contained_list ''; mapfile -t COMPREPLY < <(compgen -W "\${list[*]}" -- "$cur");;
    user) mapfile -t COMPREPLY < <(compgen -u -- "$cur");;
    container) mapfile -t COMPREPLY < <(compgen -W "$("$program" ps -aq 2>/dev/null)" -- "$cur");;
    running) mapfile -t COMPREPLY < <(compgen -W "$("$program" ps -q 2>/dev/null)" -- "$cur");;
    held) mapfile -t COMPREPLY < <(compgen -W "$("$program" ns ls -q 2>/dev/null)" -- "$cur");;
    namespaces)
      [[ $cur == *,* ]] && front=\${cur%,*},
      compopt -o nospace
      mapfile -t COMPREPLY < <(compgen -P "$front" -W ${quoted(KINDS.join(' '))} -- "\${cur##*,}");;
    '='*)
      mapfile -t COMPREPLY < <(compgen -W "\${1#=}" -- "$cur")
      [[ \${COMPREPLY[0]} == *[=:] ]] && compopt -o nospace;;
  esac
}

_contained() {
  local program=\${COMP_WORDS[0]} cur=\${COMP_WORDS[COMP_CWORD]} at= need= last= kind= word count=0 only= first=0 i list
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    # bash takes --flag=value and a:b for three words.
    if [[ $word == = ]]; then need=\${need:-=}
    elif [[ $word == : ]]; then need=$last
    elif [[ -n $need ]]; then need=
    elif _contained_family "$at"; then _contained_step "$at" "$word" || return 0
    elif [[ -z $only && $word == -- ]]; then only=1
    elif [[ -z $only && $word == -* ]]; then
      _contained_flag "$at" "$word"
      if [[ -n $kind ]]; then need=$word last=$word; fi
    else
      ((count++)) || first=$i
      _contained_ends "$at" && only=1
    fi
  done
  word=\${COMP_WORDS[COMP_CWORD-1]}
  if [[ $cur == : ]]; then need=$last cur= word=:; elif [[ $cur == = ]]; then cur=; fi
  if [[ -n $need ]]; then
    _contained_flag "$at" "$need"
    # container:NAME
    [[ $word == : && $kind == =* ]] && kind=running
    _contained_give "$kind"
  elif _contained_family "$at" || [[ -z $only && $cur == -* ]]; then
    _contained_list "$at"
    mapfile -t COMPREPLY < <(compgen -W "\${list[*]}" -- "$cur")
  else
    _contained_word "$at" "$count"
    # What runs in a container has completions of its own.
    if [[ $kind == file && $count -gt 0 ]] && _contained_ends "$at" && declare -F _command_offset >/dev/null; then
      [[ $at == exec ]] && ((first++))
      _command_offset "$first"
    else
      _contained_give "$kind"
    fi
  fi
}

complete -F _contained contained
`;

const zsh = (table: Family): string => `#compdef contained
# zsh completion for contained, by \`contained completion zsh\`

${tables(table)}

_contained_list() {
  case "$1" in
${choices(table, (name, about) => quoted(`${name}:${about}`))}
  esac
}

_contained_give() {
  case $1 in
    file) compset -P '*:'; _files;;
    directory) _files -/;;
    command) _command_names -e;;
    commands) _contained_list ''; _describe -V contained list;;
    user) _users;;
    container) list=(\${(f)"$("$program" ps -aq 2>/dev/null)"}); compadd -a list;;
    running) list=(\${(f)"$("$program" ps -q 2>/dev/null)"}); compadd -a list;;
    held) list=(\${(f)"$("$program" ns ls -q 2>/dev/null)"}); compadd -a list;;
    namespaces) compset -P '*,'; compadd -q -S , -- ${KINDS.join(' ')};;
    '='*)
      if [[ $PREFIX == container:* ]]; then
        compset -P '*:'
        _contained_give running
      else
        list=(\${=1#=})
        compadd -S '' -- \${(M)list:#*[=:]}
        compadd -- \${list:#*[=:]}
      fi;;
  esac
}

_contained() {
  local program=\${words[1]} at= need= kind= word only=
  local -i count=0 first=0 i
  local -a list
  for ((i = 2; i < CURRENT; i++)); do
    word=\${words[i]}
    if [[ -n $need ]]; then need=
    elif _contained_family "$at"; then _contained_step "$at" "$word" || return 1
    elif [[ -z $only && $word == -- ]]; then only=1
    elif [[ -z $only && $word == -* ]]; then
      _contained_flag "$at" "$word"
      [[ -n $kind ]] && need=$word
    else
      ((count++)) || first=$i
      _contained_ends "$at" && only=1
    fi
  done
  if [[ -z $need && -z $only && $PREFIX == --*=* ]] && ! _contained_family "$at"; then
    need=\${PREFIX%%=*}
    compset -P 1 '*='
  fi
  if [[ -n $need ]]; then
    _contained_flag "$at" "$need"
    _contained_give "$kind"
  elif _contained_family "$at" || [[ -z $only && $PREFIX == -* ]]; then
    _contained_list "$at"
    _describe -V contained list
  else
    _contained_word "$at" "$count"
    # What runs in a container has completions of its own.
    if [[ $kind == file && $count -gt 0 ]] && _contained_ends "$at"; then
      [[ $at == exec ]] && ((first++))
      shift $((first - 1)) words
      ((CURRENT -= first - 1))
      _normal
    else
      _contained_give "$kind"
    fi
  fi
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _contained "$@"; else compdef _contained contained; fi
`;

export const completionOf = (table: Family, shell: Shell): string => shell === 'bash' ? bash(table) : zsh(table);
