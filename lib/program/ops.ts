// Every op there is. Fields in `strings` and `numbers` are laid out in this order in csrc/ops/program.hpp's Op; a list
// of strings takes one string field, and `#name` is its length. What an op does stands at its case in csrc/ops/ops.cc.

/** A slot: the place of a descriptor that one op leaves and others use. −1 is the current directory. */
export const CWD = -1;

export const OPS = {
  open: { code: 1, strings: ['path'], lists: [], numbers: ['to', 'at', 'flags'] },
  close: { code: 2, strings: [], lists: [], numbers: ['fd'] },
  write: { code: 3, strings: ['path', 'text'], lists: [], numbers: ['at'] },
  writeFd: { code: 4, strings: ['text'], lists: [], numbers: ['fd'] },
  mkdir: { code: 5, strings: ['path'], lists: [], numbers: ['at', 'mode'] },
  rmdir: { code: 6, strings: ['path'], lists: [], numbers: ['tree'] },
  ensure: { code: 7, strings: ['path'], lists: [], numbers: ['root', 'kind', 'like'] },
  symlink: { code: 8, strings: ['path', 'target'], lists: [], numbers: ['at'] },
  mknod: { code: 9, strings: ['path'], lists: [], numbers: ['at', 'mode', 'device'] },
  fchown: { code: 10, strings: [], lists: [], numbers: ['fd', 'uid', 'gid'] },
  stdio: { code: 11, strings: [], lists: [], numbers: ['first', 'count'] },

  openTree: { code: 20, strings: ['path'], lists: [], numbers: ['to', 'at', 'flags'] },
  fsmount: { code: 21, strings: ['type'], lists: ['options'], numbers: ['to', '#options', 'attributes'] },
  overlay: { code: 22, strings: ['flag'], lists: [], numbers: ['to', 'attributes', 'first', 'layers'] },
  mountSetattr: { code: 23, strings: ['path'], lists: [], numbers: ['at', 'set', 'propagation', 'flags'] },
  moveMount: { code: 24, strings: ['path'], lists: [], numbers: ['from', 'root'] },
  mask: { code: 25, strings: ['path'], lists: [], numbers: ['root', 'directory', 'file'] },
  readonly: { code: 36, strings: ['path'], lists: [], numbers: ['root'] },
  pivotRoot: { code: 26, strings: [], lists: [], numbers: ['root', 'stacked'] },
  mount: { code: 27, strings: ['source', 'target', 'type', 'data'], lists: [], numbers: ['flags'] },
  umount: { code: 28, strings: ['target'], lists: [], numbers: ['flags'] },
  chdir: { code: 29, strings: ['path'], lists: [], numbers: [] },

  unshare: { code: 30, strings: [], lists: [], numbers: ['flags'] },
  setns: { code: 31, strings: [], lists: [], numbers: ['fd', 'flags'] },
  pidfd: { code: 32, strings: [], lists: [], numbers: ['to', 'container', 'guest'] },
  loopback: { code: 33, strings: [], lists: [], numbers: [] },
  writeProc: { code: 34, strings: ['file', 'text'], lists: [], numbers: [] },
  newidmap: { code: 35, strings: ['tool', 'map'], lists: [], numbers: [] },

  sethostname: { code: 40, strings: ['name'], lists: [], numbers: [] },
  setdomainname: { code: 41, strings: ['name'], lists: [], numbers: [] },
  setrlimit: { code: 42, strings: [], lists: [], numbers: ['resource', 'soft', 'hard'] },
  setpriority: { code: 43, strings: [], lists: [], numbers: ['nice'] },
  setaffinity: { code: 44, strings: ['mask'], lists: [], numbers: [] },
  umask: { code: 45, strings: [], lists: [], numbers: ['mask'] },
  setsid: { code: 46, strings: [], lists: [], numbers: [] },
  user: { code: 47, strings: ['name', 'group'], lists: [], numbers: [] },
  setgroups: { code: 48, strings: ['groups'], lists: [], numbers: [] },
  setresgid: { code: 49, strings: [], lists: [], numbers: ['gid'] },
  setresuid: { code: 50, strings: [], lists: [], numbers: ['uid'] },
  prctl: { code: 51, strings: [], lists: [], numbers: ['option', 'argument', 'more'] },
  boundingSet: { code: 52, strings: [], lists: [], numbers: ['keep'] },
  capset: { code: 53, strings: [], lists: [], numbers: ['permitted', 'inheritable'] },
  ambient: { code: 54, strings: [], lists: [], numbers: ['capabilities'] },
  unmaskSignals: { code: 55, strings: [], lists: [], numbers: [] },
  go: { code: 90, strings: [], lists: [], numbers: ['from', 'count'] },
  wait: { code: 57, strings: [], lists: [], numbers: ['to', 'count'] },
  init: { code: 58, strings: [], lists: [], numbers: [] },
  exec: { code: 59, strings: ['file', 'search'], lists: ['argv', 'env'], numbers: ['#argv', '#env'] },

  read: { code: 60, strings: ['path'], lists: [], numbers: [] },
  killCgroup: { code: 61, strings: ['path'], lists: [], numbers: ['unified', 'whenBusy'] },
  killGroup: { code: 62, strings: [], lists: [], numbers: [] },
  pause: { code: 64, strings: [], lists: [], numbers: [] },
  unless: { code: 65, strings: ['path', 'line'], lists: [], numbers: [] },
  moveMembers: { code: 66, strings: ['from', 'to'], lists: [], numbers: [] },
  log: { code: 67, strings: ['path'], lists: [], numbers: ['out', 'errors', 'most'] },
  record: { code: 68, strings: ['path'], lists: [], numbers: ['keep', 'most'] },
  create: { code: 69, strings: ['path', 'text'], lists: [], numbers: [] },
  attachDevices: { code: 70, strings: ['program', 'rules'], lists: [], numbers: ['fd'] },
  unlink: { code: 95, strings: ['path'], lists: [], numbers: ['at'] },

  terminal: { code: 80, strings: ['path'], lists: [], numbers: ['to', 'columns', 'rows'] },
  controllingTerminal: { code: 81, strings: [], lists: [], numbers: [] },
} as const;

type Table = typeof OPS;
export type OpName = keyof Table;

type OpFields<K extends OpName> =
  & { readonly [F in Table[K]['strings'][number]]: string | null }
  & { readonly [F in Table[K]['lists'][number]]: readonly string[] }
  & { readonly [F in Exclude<Table[K]['numbers'][number], `#${string}`>]: number };

/** One step of a program. `forgive`: an errno that counts as success. `after`: an undo step, and what it takes back, counted over `host` and then `release`. */
export type Op = { [K in OpName]: { readonly op: K } & OpFields<K> & { readonly forgive?: number; readonly after?: number } }[OpName];
export type OpOf<K extends OpName> = Extract<Op, { op: K }>;

/** Kinds of `ensure`. */
export const ENSURE = { file: 0, directory: 1, like: 2 } as const;
