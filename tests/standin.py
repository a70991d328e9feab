"""Measuring around a step, in torch arithmetic: stands in for what the step itself does."""
import torch
from adamas.torch.measured import Measured
Q=torch.tensor([.05,.25,.5,.75,.95])
def get(state,*names):
    for n in names:
        if n in state: return state[n].detach().double()
    return None
def arm(opt):
    before={}
    def pre(o,a,k):
        before.clear()
        if o._watch is None or not o._watch.due(o): return
        for grp in o.param_groups:
            for p in grp['params']:
                if p.grad is not None: before[p]=(p.detach().double().clone(), p.grad.detach().double().clone())
    counts={}
    def post(o,a,k):
        for grp in o.param_groups:
            for p in grp['params']:
                if p.grad is not None: counts[p]=counts.get(p,0)+1
        if not before or o.last_step.skipped: return
        out={}
        for grp in o.param_groups:
            rule=o.rule_of(grp)
            for p in grp['params']:
                if p not in before: continue
                old,g=before[p]; st=o.state.get(p,{})
                t=int(st['step']) if 'step' in st else counts[p]
                d=p.detach().double()-old
                m=get(st,'m','exp_avg','momentum_buffer'); v=get(st,'v','exp_avg_sq','square_avg','max_exp_avg_sq','sum')
                u=get(st,'exp_inf','u')
                name=type(rule).__name__
                sig=hid=ms=ab=None
                lr=float(rule.lr)
                if v is not None or u is not None:
                    eps=getattr(rule,'eps',0.)
                    if u is not None: root=u; vh=u*u
                    else:
                        b2=getattr(rule,'beta2',getattr(rule,'alpha',None))
                        c2=1-b2**t if hasattr(rule,'beta2') and getattr(rule,'bias_correction',True) else 1
                        vh=v/c2; root=vh.sqrt()
                    hid=int((root<eps).sum()); ms=float(vh.mean()) if name not in('Adagrad','AdaBelief') else None
                    mh=g if m is None else m/(1-rule.beta1**t if getattr(rule,'bias_correction',True) and hasattr(rule,'beta1') else 1)
                    s=(mh.abs()/root.clamp_min(1e-300)).flatten(); s[root.flatten()==0]=0
                    step=max(1,len(s)//4096)
                    sig=tuple(torch.quantile(s[::step][:4096],Q.double()).tolist()) if len(s) else None
                    if name in ('Adam','AMSGrad','AdaMax','NAdam','AdaBelief'): ab=int((d.abs()>=.9*lr).sum())
                out[p]=Measured(lr,t,p.numel(),float(g.norm()),float(p.detach().double().norm()),float(d.norm()),float(d.abs().max()) if len(d.flatten()) else 0.,int((~g.isfinite()).sum()),int((g==0).sum()),int(((d==0)&(g!=0)).sum()),ab,hid,ms,sig,0)
        o._measured=out
        o._watch.take(o,out)
    opt.register_step_pre_hook(pre); opt.register_step_post_hook(post)
    return opt
