// Shows what a cloud storage node says (keys, URLs, listings, reports) in a field of the node.
import { app } from "../../../scripts/app.js";
import { ComfyWidgets } from "../../../scripts/widgets.js";

const FIELD = "cloud_storage_result";

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
      this.setDirtyCanvas?.(true, true);
    };
  },
});
