/** The colour that a custom property has now. Canvases want it resolved, and the property may itself be a function of the theme. */
export function resolvedColour(name: string): string {
  const probe = document.createElement("i");
  probe.style.color = `var(${name})`;
  probe.hidden = true;
  document.body.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}
