#include "report/page.h"

#include <stdint.h>

#include "report/chart.h"

static const char style[] =
    ":root{color-scheme:light dark;--ground:#fbfaf7;--card:#ffffff;--ink:#22242a;--soft:#6a6f7a;--rule:#e2e0d9;"
    "--c0:#2563b0;--c1:#cf5c22;--c2:#22855a;--c3:#8a4fb3;--c4:#b58300;--c5:#c0396b;--c6:#2f8f9d;--c7:#6b6b6b}\n"
    "@media(prefers-color-scheme:dark){:root{--ground:#15171c;--card:#1d2026;--ink:#e6e7ea;--soft:#9aa0ac;--rule:#32363f;"
    "--c0:#6aa7f0;--c1:#f0915c;--c2:#5cc795;--c3:#c193e6;--c4:#e3bb4f;--c5:#f07da6;--c6:#6cc7d4;--c7:#b5b5b5}}\n"
    "*{box-sizing:border-box}body{margin:0 auto;max-width:1180px;padding:28px 24px 64px;background:var(--ground);"
    "color:var(--ink);font:15px/1.5 system-ui,'DejaVu Sans',sans-serif}\n"
    "h1{font-size:26px;margin:0 0 2px;letter-spacing:-.01em}h2{font-size:18px;margin:38px 0 12px}"
    "h3{font-size:15px;margin:0 0 8px}p{margin:0 0 10px}.grid2+.lead{margin-top:10px}.lead,.none,figcaption "
    "small{color:var(--soft)}\n"
    ".grid2{display:grid;grid-template-columns:repeat(auto-fit,minmax(440px,1fr));gap:16px}\n"
    "figure{margin:0;padding:14px 16px 10px;background:var(--card);border:1px solid var(--rule);border-radius:10px;"
    "position:relative;min-width:0}figcaption{font-weight:600;margin-bottom:4px}figure "
    "img{max-width:100%;height:auto;display:block;"
    "border-radius:4px}\n"
    "svg{width:100%;height:auto;display:block}svg text{fill:var(--soft);font-size:11.5px}.grid{stroke:var(--rule)}"
    ".axis{stroke:var(--soft)}path{fill:none;stroke-linejoin:round}.line{stroke-width:2}.faint{stroke-width:1;opacity:.28}"
    ".dashed{stroke-dasharray:6 5}.cursor{stroke:var(--soft);stroke-dasharray:3 3}\n"
    ".c0{stroke:var(--c0);--c:var(--c0)}.c1{stroke:var(--c1);--c:var(--c1)}.c2{stroke:var(--c2);--c:var(--c2)}"
    ".c3{stroke:var(--c3);--c:var(--c3)}.c4{stroke:var(--c4);--c:var(--c4)}.c5{stroke:var(--c5);--c:var(--c5)}"
    ".c6{stroke:var(--c6);--c:var(--c6)}.c7{stroke:var(--c7);--c:var(--c7)}\n"
    ".dots circle{fill:var(--card);stroke-width:1.8}.legend{font-size:12.5px;color:var(--soft);display:flex;flex-wrap:wrap;"
    "gap:2px 14px;margin-bottom:4px}.legend i{display:inline-block;vertical-align:middle;margin-right:6px}"
    ".legend .stroke{width:16px;height:3px;border-radius:2px;background:var(--c)}"
    ".legend .broken{background:repeating-linear-gradient(90deg,var(--c) 0 5px,transparent 5px 8px)}"
    ".legend .dot{width:9px;height:9px;border-radius:50%;border:2px solid var(--c)}"
    ".legend i{-webkit-print-color-adjust:exact;print-color-adjust:exact}\n"
    ".value{position:absolute;pointer-events:none;background:var(--card);border:1px solid var(--rule);border-radius:6px;"
    "padding:5px 9px;font-size:12px;line-height:1.45;white-space:nowrap;box-shadow:0 2px 10px #0003;z-index:1}"
    ".value i{display:inline-block;width:8px;height:8px;border-radius:50%;background:var(--c);margin-right:6px}\n"
    ".note{color:var(--soft);font-size:13px;margin:6px 0 2px}.cell{fill:var(--c0)}.cell+text{fill:var(--ink)}\n"
    ".wide{overflow-x:auto}table{border-collapse:collapse;font-size:14px}th,td{text-align:left;padding:5px 22px 5px 0;"
    "border-bottom:1px solid var(--rule);vertical-align:top}th{font-weight:600;white-space:nowrap}"
    "td{font-variant-numeric:tabular-nums}td.soft{color:var(--soft)}\n"
    "details{margin:10px 0}summary{cursor:pointer;font-weight:600}pre{background:var(--card);border:1px solid var(--rule);"
    "border-radius:10px;padding:12px 14px;overflow-x:auto;font:12.5px/1.45 ui-monospace,'DejaVu Sans Mono',monospace}\n"
    "@media print{body{padding:0;max-width:none;font-size:11pt}figure,tr{break-inside:avoid}h2{break-after:avoid}"
    ".grid2{grid-template-columns:1fr 1fr}pre{white-space:pre-wrap}:root{--ground:#fff;--card:#fff;--ink:#000;--soft:#555;"
    "--rule:#ccc;--c0:#2563b0;--c1:#cf5c22;--c2:#22855a;--c3:#8a4fb3;--c4:#b58300;--c5:#c0396b;--c6:#2f8f9d;--c7:#6b6b6b}}\n";

/* Reads the numbers off the drawing: the curves stand there with one decimal of a pixel. */
static const char script[] =
    "for(const svg of document.querySelectorAll('svg[data-box]')){\n"
    " const n=k=>svg.dataset[k].split(' ').map(Number),[x0,x1]=n('x'),[y0,y1]=n('y'),[l,t,r,b]=n('box');\n"
    " const curves=[...svg.querySelectorAll('.line,.dots')].map(e=>({name:e.dataset.name,color:e.classList[1],\n"
    "  points:e.tagName=='g'?[...e.children].map(c=>[+c.getAttribute('cx'),+c.getAttribute('cy')])\n"
    "   :[...e.getAttribute('d').matchAll(/([-\\d.]+) ([-\\d.]+)/g)].map(m=>[+m[1],+m[2]])}));\n"
    " const box=document.createElement('div'),line=document.createElementNS('http://www.w3.org/2000/svg','line');\n"
    " box.className='value';box.hidden=true;svg.parentNode.append(box);\n"
    " line.setAttribute('class','cursor');line.setAttribute('y1',t);line.setAttribute('y2',b);\n"
    " svg.onpointerleave=()=>{box.hidden=true;line.remove()};\n"
    " svg.onpointermove=e=>{const s=svg.getBoundingClientRect(),f=svg.parentNode.getBoundingClientRect();\n"
    "  const x=(e.clientX-s.left)*640/s.width;if(x<l||x>r)return svg.onpointerleave();\n"
    "  line.setAttribute('x1',x);line.setAttribute('x2',x);svg.append(line);box.replaceChildren();\n"
    "  box.append(svg.dataset.unit+' '+((x-l)/(r-l)*(x1-x0)+x0).toPrecision(3));\n"
    "  for(const c of curves){if(!c.points.length)continue;\n"
    "   const p=c.points.reduce((a,q)=>Math.abs(q[0]-x)<Math.abs(a[0]-x)?q:a),row=document.createElement('div'),dot=document."
    "createElement('i');\n"
    "   dot.className=c.color;row.append(dot,c.name+'  '+((b-p[1])/(b-t)*(y1-y0)+y0).toPrecision(4));box.append(row)}\n"
    "  box.hidden=false;const left=e.clientX-f.left;\n"
    "  box.style.left=(left>f.width/2?left-box.offsetWidth-14:left+14)+'px';box.style.top=(e.clientY-f.top+10)+'px'}}\n";

void page_begin(Text *out, const char *title)
{
    text_add(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                  "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>");
    html_text(out, title);
    text_add(out, "</title>\n<link rel=\"icon\" href=\"data:,\">\n<style>\n%s</style>\n</head>\n<body>\n", style);
}

void page_end(Text *out)
{
    text_add(out, "<script>\n%s</script>\n</body>\n</html>\n", script);
}

void page_image(Text *out, const char *alt, const void *png, size_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *at = png;
    text_add(out, "<img alt=\"");
    html_text(out, alt);
    text_add(out, "\" src=\"data:image/png;base64,");
    for (size_t i = 0; i < size; i += 3) {
        size_t some = size - i < 3 ? size - i : 3;
        uint32_t three = (uint32_t)at[i] << 16 | (some > 1 ? (uint32_t)at[i + 1] << 8 : 0) | (some > 2 ? at[i + 2] : 0u);
        char four[4] = {digits[three >> 18], digits[three >> 12 & 63], digits[three >> 6 & 63], digits[three & 63]};
        for (size_t k = some + 1; k < 4; k++)
            four[k] = '=';
        text_add_bytes(out, four, 4);
    }
    text_add(out, "\">");
}
