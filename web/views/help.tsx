import { Dialog } from "../ui/dialog.tsx";
import { SHORTCUTS, type Shortcut } from "../ui/shortcuts.ts";
import { usePage } from "./page-context.ts";

export function Help({ onClose }: { readonly onClose: () => void }) {
  const { mayWrite } = usePage();
  const shown = SHORTCUTS.filter((shortcut: Shortcut) => mayWrite || shortcut.write !== true);
  return (
    <Dialog title="Keyboard shortcuts" onClose={onClose}>
      <dl class="shortcuts">
        {shown.map(({ key, does }) => (
          <div key={key}>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{does}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}
