const ui = SwaggerUIBundle({
  url: "/schema/openapi.json",
  dom_id: "#ui",
  deepLinking: true,
  showExtensions: true,
  showCommonExtensions: true,
  validatorUrl: null,
  onComplete: () => { document.title = ui.specSelectors.info().get("title"); },
});
