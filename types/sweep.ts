/** What `sweep` found and did. */
export interface SweepReport {
  /** Cgroup directories that were removed. */
  readonly removed: readonly string[];
  /** Processes that were killed in them. */
  readonly killed: number;
  /** Directories that could not be removed, and why. */
  readonly failed: readonly { path: string; error: Error }[];
}
