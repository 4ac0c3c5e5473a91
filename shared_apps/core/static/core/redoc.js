const target = document.getElementById("redoc");
const system = "system-ui, sans-serif";
Redoc.init(
  target.dataset.schema,
  { theme: { typography: { fontFamily: system, headings: { fontFamily: system } } }, hideDownloadButton: false },
  target,
);
