/** glibc's gnu_dev_major and gnu_dev_minor: makedev(3). */
export const deviceNumbers = (rdev: number): { major: number; minor: number } => {
  const device = BigInt(rdev);
  return { major: Number(device >> 8n & 0xfffn | device >> 32n & 0xfffff000n), minor: Number(device & 0xffn | device >> 12n & 0xffffff00n) };
};
