// Returns every visible text whose contrast with its background is below 4.5 (WCAG 2.2, 1.4.3), with that contrast.
const channel = (value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
const numbers = (colour) => colour.match(/[\d.]+/g).map(Number);
const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);

function behind(element) {
  for (let at = element; at; at = at.parentElement) {
    const colour = numbers(getComputedStyle(at).backgroundColor);
    if (colour.length === 3 || colour[3] > 0) return colour;
  }
  return [255, 255, 255];
}

const poor = {};
for (const element of document.querySelectorAll("body *")) {
  const text = [...element.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE).map((node) => node.data.trim()).join(" ").trim();
  // What is switched off may be faint.
  if (!text || !element.checkVisibility() || element.matches("script, :disabled, :disabled *")) continue;
  const [front, back] = [luminance(numbers(getComputedStyle(element).color)), luminance(behind(element))];
  const contrast = (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
  if (contrast < 4.5) poor[text.slice(0, 40)] = contrast;
}
return poor;
