const figures = JSON.parse(document.getElementById("figures").textContent);
const config = {displayModeBar: false, responsive: true, showTips: false, scrollZoom: false};
function paint() {
  const style = getComputedStyle(document.documentElement);
  const get = name => style.getPropertyValue(name).trim();
  return {ink: get("--ink"), soft: get("--soft"), rule: get("--rule"), paper: get("--paper")};
}
function themed(layout) {
  const c = paint();
  const axis = old => ({
    ...old, gridcolor: c.rule, zerolinecolor: c.soft, linecolor: c.rule, ticklabelstandoff: 6,
    title: {...old.title, font: {size: 13, color: c.soft}},
  });
  return {
    ...layout, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: {family: getComputedStyle(document.body).fontFamily, size: 13, color: c.ink},
    hoverlabel: {bgcolor: c.paper, bordercolor: c.rule, font: {color: c.ink}},
    ...(layout.ternary && {ternary: {
      ...layout.ternary, bgcolor: "rgba(0,0,0,0)",
      ...Object.fromEntries(["aaxis", "baxis", "caxis"].map(k => [k, axis(layout.ternary[k])])),
    }}),
    ...Object.fromEntries(Object.keys(layout).filter(k => /^[xy]axis/.test(k))
      .map(k => [k, axis(layout[k])])),
  };
}
const narrow = matchMedia("(max-width: 40rem)");
function fitted(trace) {
  const words = Array.isArray(trace.y) && typeof trace.y[0] === "string";
  return narrow.matches && words ? {...trace, y: trace.y.map(t => t.replace(": ", "<br>"))} : trace;
}
function draw() {
  for (const [key, figure] of Object.entries(figures)) {
    Plotly.react("figure-" + key, figure.data.map(fitted), themed(figure.layout), config);
  }
}
draw();
narrow.addEventListener("change", draw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
