/** One thing that this host can or cannot do. */
export interface Ability {
  /** As `'user namespaces'`. */
  readonly name: string;
  readonly available: boolean;
  /** What was found, or why it cannot be done. */
  readonly detail: string;
  /** What would change that. */
  readonly remedy?: string;
}

/** The answer of `probe`. */
export interface HostReport {
  readonly kernel: string;
  readonly node: string;
  /** How the caller can set up containers: `root` needs no user namespace, `rootless` makes one, `none` cannot. */
  readonly mode: 'root' | 'rootless' | 'none';
  /** Which cgroup hierarchies there are. */
  readonly cgroups: 'v2' | 'v1' | 'hybrid' | 'none';
  readonly abilities: readonly Ability[];
}
