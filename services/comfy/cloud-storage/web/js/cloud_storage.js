// Shows what a cloud storage node says (keys, URLs, listings, reports) in a field of the node.
import { app } from "../../../scripts/app.js";
import { ComfyWidgets } from "../../../scripts/widgets.js";

const FIELD = "cloud_storage_result";

// Makes room for what the node shows; never smaller than a person has drawn it.
function grow(node) {
  const [width, height] = node.computeSize();
  if (width <= node.size[0] && height <= node.size[1]) return;
  node.setSize([Math.max(width, node.size[0]), Math.max(height, node.size[1])]);
  node.setDirtyCanvas?.(true, true);
}

app.registerExtension({
  name: "comfykiln.cloud-storage",

  beforeRegisterNodeDef(nodeType, nodeData) {
    if (!nodeData.category?.startsWith("cloud_storage")) return;
    const before = nodeType.prototype.onExecuted;
    nodeType.prototype.onExecuted = function (output) {
      before?.apply(this, arguments);
      const text = output?.text?.join("\n");
      if (text === undefined) return;
      let field = this.widgets?.find((widget) => widget.name === FIELD);
      if (!field) {
        field = ComfyWidgets.STRING(this, FIELD, ["STRING", { multiline: true }], app).widget;
        field.options.read_only = true;
        if (field.inputEl) field.inputEl.readOnly = true;
        // What a run said is no part of the workflow: neither saved nor sent.
        field.serialize = false;
        field.options.serialize = false;
        field.serializeValue = () => undefined;
      }
      field.value = text;
      // Pictures and the line of progress take their place after this, on a slow line much later.
      const growing = setInterval(() => grow(this), 250);
      setTimeout(() => clearInterval(growing), 30000);
    };
  },
});
