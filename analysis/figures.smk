# Figures and tables: one rule for the fresh tree, its twin for the shipped one. Included by the Snakefile.


localrules:
    figures,
    audit,
    comparison,
    fresh_main_figure,
    main_figure,
    fresh_grid_figure,
    grid_figure,
    fresh_main_table,
    main_table,
    fresh_gain_figure,
    gain_figure,
    fresh_data_quality,
    data_quality,
    fresh_defects,
    defects,
    fresh_coverage_figure,
    coverage_figure,
    fresh_offline_target,
    offline_target,
    fresh_replication,
    replication_of,
    fresh_verdict,
    verdict,
    fresh_scores,
    scores,
    fresh_fidelity,
    fidelity,
    cost,
    fresh_llm_policies,
    llm_policies,


rule fresh_main_figure:
    message:
        "Drawing {output.pdf}"
    input:
        fresh_runs,
        published_runs,
    output:
        pdf=f"{TREE}/paper_figs/{{figure}}.pdf",
        png=f"{TREE}/paper_figs/{{figure}}.png",
    log:
        f"{TREE}/logs/paper_figs/{{figure}}.log",
    params:
        env=lambda wildcards: "all" if wildcards.figure.startswith("main") else environments_of(wildcards)[0],
        over=lambda wildcards: "steps" if wildcards.figure.endswith("_steps") else "iterations",
    shell:
        "python -m analysis.main_figure --env {params.env} --over {params.over} --runs {input} --output {output.pdf}"
        " > {log} 2>&1"


use rule fresh_main_figure as main_figure with:
    input:
        shipped_runs,
    output:
        pdf="paper_figs/{figure}.pdf",
        png=shown("paper_figs/{figure}.png", "main", "2 Main figures"),
    log:
        f"{TREE}/logs/shipped/paper_figs/{{figure}}.log",


rule fresh_grid_figure:
    message:
        "Drawing {output.pdf}"
    input:
        lambda wildcards: grid_runs(f"{TREE}/", wildcards),
        published_grid_runs,
    output:
        pdf=f"{TREE}/paper_figs/{{env}}_{{kind}}{{over}}.pdf",
        png=f"{TREE}/paper_figs/{{env}}_{{kind}}{{over}}.png",
    log:
        f"{TREE}/logs/paper_figs/{{env}}_{{kind}}{{over}}.log",
    wildcard_constraints:
        over="|_steps",
    params:
        over=lambda wildcards: "steps" if wildcards.over else "iterations",
    shell:
        "python -m analysis.grid_figure --env {wildcards.env} --kind {wildcards.kind} --over {params.over} --runs {input}"
        " --output {output.pdf} > {log} 2>&1"


use rule fresh_grid_figure as grid_figure with:
    input:
        shipped_grid_runs,
    output:
        pdf="paper_figs/{env}_{kind}{over}.pdf",
        png=shown("paper_figs/{env}_{kind}{over}.png", "grid", "3 The paper's other figures"),
    log:
        f"{TREE}/logs/shipped/paper_figs/{{env}}_{{kind}}{{over}}.log",


rule fresh_main_table:
    message:
        "Writing {output.md}"
    input:
        lambda wildcards: warm_starts(f"{TREE}/") if wildcards.table == "grid" else fresh_runs(wildcards),
        lambda wildcards: [] if wildcards.table == "grid" else published_runs(wildcards),
    output:
        csv=f"{TREE}/results/tables/{{table}}.csv",
        md=f"{TREE}/results/tables/{{table}}.md",
    log:
        f"{TREE}/logs/tables/{{table}}.log",
    wildcard_constraints:
        table="main|grid",
    params:
        page=lambda wildcards: "--arms loro --title 'LORO with every LLM, N and τ'" if wildcards.table == "grid" else "",
    shell:
        "python -m analysis.main_table {params.page} --runs {input} --output {output.csv} > {log} 2>&1"


use rule fresh_main_table as main_table with:
    input:
        lambda wildcards: there(warm_starts("")) if wildcards.table == "grid" else shipped_runs(wildcards),
    output:
        csv="results/tables/{table}.csv",
        md="results/tables/{table}.md",
    log:
        f"{TREE}/logs/shipped/tables/{{table}}.log",


rule fresh_gain_figure:
    message:
        "Drawing {output.pdf}"
    input:
        f"{TREE}/results/tables/main.csv",
    output:
        pdf=f"{TREE}/paper_figs/gains.pdf",
        png=f"{TREE}/paper_figs/gains.png",
    log:
        f"{TREE}/logs/paper_figs/gains.log",
    shell:
        "python -m analysis.gain_figure --table {input} --output {output.pdf} > {log} 2>&1"


use rule fresh_gain_figure as gain_figure with:
    input:
        "results/tables/main.csv",
    output:
        pdf="paper_figs/{gains}.pdf",
        png=shown("paper_figs/{gains}.png", "gains", "4 Beyond the paper"),
    log:
        f"{TREE}/logs/shipped/paper_figs/{{gains}}.log",
    wildcard_constraints:
        gains="gains",


rule fresh_data_quality:
    message:
        "Drawing {output.pdf}"
    input:
        quality_runs(f"{TREE}/", distinct_players),
    output:
        pdf=f"{TREE}/paper_figs/data_quality.pdf",
        png=f"{TREE}/paper_figs/data_quality.png",
        csv=f"{TREE}/results/tables/data_quality.csv",
        md=f"{TREE}/results/tables/data_quality.md",
    log:
        f"{TREE}/logs/tables/data_quality.log",
    shell:
        "python -m analysis.data_quality --runs {input} --output {output.pdf} --table {output.csv} > {log} 2>&1"


use rule fresh_data_quality as data_quality with:
    input:
        there(quality_runs("", lambda env: PLAYERS)),
    output:
        pdf="paper_figs/{quality}.pdf",
        png=shown("paper_figs/{quality}.png", "data_quality", "4 Beyond the paper"),
        csv="results/tables/{quality}.csv",
        md="results/tables/{quality}.md",
    log:
        f"{TREE}/logs/shipped/tables/{{quality}}.log",
    wildcard_constraints:
        quality="data_quality",


rule fresh_defects:
    message:
        "Drawing {output.pdf}"
    input:
        runs=defect_runs(f"{TREE}/"),
        controls=defect_controls(f"{TREE}/"),
    output:
        pdf=f"{TREE}/paper_figs/defects.pdf",
        png=f"{TREE}/paper_figs/defects.png",
        csv=f"{TREE}/results/tables/defects.csv",
        md=f"{TREE}/results/tables/defects.md",
    log:
        f"{TREE}/logs/tables/defects.log",
    shell:
        "python -m analysis.defects --runs {input.runs} --controls {input.controls} --output {output.pdf}"
        " --table {output.csv} > {log} 2>&1"


use rule fresh_defects as defects with:
    input:
        runs=there(defect_runs("")),
        controls=there(defect_controls("")),
    output:
        pdf="paper_figs/{defects}.pdf",
        png=shown("paper_figs/{defects}.png", "defects", "4 Beyond the paper"),
        csv="results/tables/{defects}.csv",
        md="results/tables/{defects}.md",
    log:
        f"{TREE}/logs/shipped/tables/{{defects}}.log",
    wildcard_constraints:
        defects="defects",


rule fresh_offline_target:
    message:
        "The target network while pretraining"
    input:
        claims="config/claims.yaml",
        runs=often_runs(f"{TREE}/"),
        seldom=seldom_runs(f"{TREE}/"),
    output:
        csv=f"{TREE}/results/tables/offline_target.csv",
        md=f"{TREE}/results/tables/offline_target.md",
        pdf=f"{TREE}/paper_figs/offline_target.pdf",
        png=f"{TREE}/paper_figs/offline_target.png",
    log:
        f"{TREE}/logs/tables/offline_target.log",
    shell:
        "python -m analysis.offline_target --claims {input.claims} --runs {input.runs} --seldom {input.seldom}"
        " --output {output.csv} --figure {output.pdf} > {log} 2>&1"


use rule fresh_offline_target as offline_target with:
    input:
        claims="config/claims.yaml",
        runs=there(often_runs("")),
        seldom=there(seldom_runs("")),
    output:
        csv="results/tables/{offline_target}.csv",
        md="results/tables/{offline_target}.md",
        pdf="paper_figs/{offline_target}.pdf",
        png=shown("paper_figs/{offline_target}.png", "offline_target", "4 Beyond the paper"),
    log:
        f"{TREE}/logs/shipped/tables/{{offline_target}}.log",
    wildcard_constraints:
        offline_target="offline_target",


rule fresh_replication:
    message:
        "What surprised in {wildcards.env}, with other seeds"
    input:
        online=lambda wildcards: replicated_runs(f"{TREE}/", wildcards.env)[0],
        arms=lambda wildcards: replicated_runs(f"{TREE}/", wildcards.env)[1:],
    output:
        f"{TREE}/results/tables/replication_{{env}}.md",
    log:
        f"{TREE}/logs/tables/replication_{{env}}.log",
    wildcard_constraints:
        env="|".join(config["replications"]) or "none",
    shell:
        "python -m analysis.warm_start --runs {input.arms} --against {input.online} --output {output} > {log} 2>&1"


use rule fresh_replication as replication_of with:
    input:
        online=lambda wildcards: replicated_runs("", wildcards.env)[0],
        arms=lambda wildcards: there(replicated_runs("", wildcards.env)[1:]),
    output:
        "results/tables/replication_{env}.md",
    log:
        f"{TREE}/logs/shipped/tables/replication_{{env}}.log",


rule fresh_verdict:
    message:
        "Judging the paper's claims"
    input:
        claims="config/claims.yaml",
        runs=claimed_runs(f"{TREE}/"),
        published=claimed_published_runs,
        priors=claimed_prior_runs(f"{TREE}/") if config["grid"] else [],
        again=all_replicated_runs(f"{TREE}/"),
    output:
        md=f"{TREE}/results/claims.md",
        csv=f"{TREE}/results/claims.csv",
        pdf=f"{TREE}/paper_figs/verdict.pdf",
        png=f"{TREE}/paper_figs/verdict.png",
    log:
        f"{TREE}/logs/claims.log",
    params:
        again=lambda wildcards, input: f"--again {' '.join(input.again)}" if input.again else "",
    shell:
        "python -m analysis.verdict --claims {input.claims} --runs {input.runs} {input.published} {input.priors}"
        " {params.again} --output {output.md} --figure {output.pdf} > {log} 2>&1"


use rule fresh_verdict as verdict with:
    input:
        claims="config/claims.yaml",
        runs=there(claimed_runs("")),
        published=claimed_published_runs,
        priors=there(claimed_prior_runs("")),
        again=there(all_replicated_runs("")),
    output:
        md="results/{shipped}claims.md",
        csv="results/{shipped}claims.csv",
        pdf="paper_figs/{shipped}verdict.pdf",
        png=shown("paper_figs/{shipped}verdict.png", "verdict", "1 Verdict"),
    log:
        f"{TREE}/logs/shipped/{{shipped}}claims.log",
    wildcard_constraints:
        shipped="()",  # an empty wildcard, because snakemake adds a forced rule without one to every target


rule fresh_scores:
    message:
        "Scoring every cell"
    input:
        fresh_runs,
        published_runs,
    output:
        csv=f"{TREE}/results/tables/scores.csv",
        md=f"{TREE}/results/tables/scores.md",
    log:
        f"{TREE}/logs/tables/scores.log",
    shell:
        f"python -m analysis.scores --loro {arm_file('loro')} --mix {arm_file('mix')}"
        " --runs {input} --output {output.csv} > {log} 2>&1"


use rule fresh_scores as scores with:
    input:
        lambda wildcards: all_shipped("paper", "published", "released"),
    output:
        csv="results/tables/{scores}.csv",
        md="results/tables/{scores}.md",
    log:
        f"{TREE}/logs/shipped/tables/{{scores}}.log",
    wildcard_constraints:
        scores="scores",


rule fresh_fidelity:
    message:
        "Comparing with every published number"
    input:
        runs=lambda wildcards: list(
            dict.fromkeys([*all_shipped("published"), *fresh_runs(wildcards), *claimed_runs(f"{TREE}/")])
        ),
        opinions=[],
        pairs=[],
    output:
        csv=f"{TREE}/results/tables/fidelity.csv",
        md=f"{TREE}/results/tables/fidelity.md",
    log:
        f"{TREE}/logs/tables/fidelity.log",
    shell:
        "python -m analysis.fidelity --runs {input.runs} --second-opinions {input.opinions}"
        " --repeat-by-repeat {input.pairs} --output {output.csv} > {log} 2>&1"


use rule fresh_fidelity as fidelity with:
    input:
        runs=lambda wildcards: all_shipped("paper", "published", "released"),
        opinions=sorted(map(str, Path("results/reference").glob("d3rlpy-loro-*.csv"))),
        pairs=[f"results/reference/{whose}two-repeats-cartpole.csv" for whose in ("", "d3rlpy-")],
    output:
        csv="results/tables/{fidelity}.csv",
        md="results/tables/{fidelity}.md",
    log:
        f"{TREE}/logs/shipped/tables/{{fidelity}}.log",
    wildcard_constraints:
        fidelity="fidelity",


# Made from final policies, which are too large to ship: what was measured of them is shipped, by `analysis.promote`.
rule coverage:
    message:
        "What the data covers of what final policies do"
    input:
        runs=covered_policies,
        policies=lambda wildcards: [run.replace(".csv", ".policy.safetensors") for run in covered_policies(wildcards)],
        datasets=[dataset(env, llm) for env in COUNTABLE for llm in [*config["llms"], "random"] if plays(env, llm)],
    output:
        f"{TREE}/results/coverage.csv",
    log:
        f"{TREE}/logs/coverage.log",
    params:
        folders=lambda wildcards, input: [str(Path(meta).parent) for meta in input.datasets],
    shell:
        "python -m analysis.coverage --runs {input.runs} --datasets {params.folders} --output {output} > {log} 2>&1"


rule fresh_coverage_figure:
    message:
        "Drawing {output.pdf}"
    input:
        measured=f"{TREE}/results/coverage.csv",
        runs=covered_runs(f"{TREE}/", distinct_players),
    output:
        pdf=f"{TREE}/paper_figs/coverage.pdf",
        png=f"{TREE}/paper_figs/coverage.png",
        csv=f"{TREE}/results/tables/coverage.csv",
        md=f"{TREE}/results/tables/coverage.md",
    log:
        f"{TREE}/logs/tables/coverage.log",
    shell:
        "python -m analysis.coverage_figure --measured {input.measured} --runs {input.runs} --output {output.pdf}"
        f" --table {{output.csv}} --tau {TAU} > {{log}} 2>&1"


use rule fresh_coverage_figure as coverage_figure with:
    input:
        measured="results/coverage.csv",
        runs=there(covered_runs("", lambda env: PLAYERS)),
    output:
        pdf="paper_figs/{coverage}.pdf",
        png=shown("paper_figs/{coverage}.png", "coverage", "4 Beyond the paper"),
        csv="results/tables/{coverage}.csv",
        md="results/tables/{coverage}.md",
    log:
        f"{TREE}/logs/shipped/tables/{{coverage}}.log",
    wildcard_constraints:
        coverage="coverage",


rule cost:
    message:
        "What training costs"
    input:
        lambda wildcards: all_shipped("paper", "released"),
    output:
        csv="results/tables/{cost}.csv",
        md="results/tables/{cost}.md",
    log:
        f"{TREE}/logs/shipped/tables/{{cost}}.log",
    wildcard_constraints:
        cost="cost",
    params:
        asked=lambda wildcards: asked_runs(),
    shell:
        "python -m analysis.cost --runs {input} --asked {params.asked} --output {output.csv} > {log} 2>&1"


rule fresh_llm_policies:
    message:
        "Writing {output.md}"
    input:
        [dataset(env, llm) for env in ENVIRONMENTS for llm in config["data_quality"]["table"]],
    output:
        csv=f"{TREE}/results/tables/llm_policies.csv",
        md=f"{TREE}/results/tables/llm_policies.md",
    log:
        f"{TREE}/logs/tables/llm_policies.log",
    params:
        folders=lambda wildcards, input: [str(Path(meta).parent) for meta in input],
    shell:
        "python -m analysis.llm_policies --datasets {params.folders} --output {output.csv} > {log} 2>&1"


# The shipped table needs the authors' episodes too, which are not shipped: `snakemake figures` leaves it as it is. Of
# the others it shows those that are shipped.
use rule fresh_llm_policies as llm_policies with:
    input:
        [
            dataset(env, llm)
            for env in ENVIRONMENTS
            for llm in config["data_quality"]["table"]
            if llm in RELEASED_LLMS or Path(f"results/datasets/{env}/{llm}/meta.json").exists()
        ],
    output:
        csv="results/tables/llm_policies.csv",
        md="results/tables/llm_policies.md",
    log:
        f"{TREE}/logs/shipped/tables/llm_policies.log",


rule audit:
    message:
        "Auditing the authors' released files"
    output:
        md=f"{TREE}/results/audit.md",
        csv=f"{TREE}/results/audit.csv",
    log:
        f"{TREE}/logs/audit.log",
    params:
        source=f"--source {config['authors_data']}" if config.get("authors_data") else "",
    shell:
        "python -m analysis.audit {params.source} --output {output.md} > {log} 2>&1"


rule comparison:
    message:
        "Comparing fresh and shipped runs"
    input:
        fresh_runs,
    output:
        f"{TREE}/results/tables/comparison.md",
    log:
        f"{TREE}/logs/tables/comparison.log",
    shell:
        "python -m analysis.compare --runs {input} --shipped results/runs --output {output} > {log} 2>&1"


rule figures:
    message:
        "Figures and tables of the shipped runs"
    input:
        expand("paper_figs/{figure}.pdf", figure=[*MAIN_FIGURES, *GRID_FIGURES]),
        expand("paper_figs/{figure}.pdf", figure=["gains", "data_quality", "defects", "coverage"]),
        "results/tables/main.md",
        "results/tables/grid.md",
        "results/claims.md",
        "results/tables/scores.md",
        "results/tables/fidelity.md",
        "results/tables/cost.md",
        "paper_figs/offline_target.pdf" if there(seldom_runs("")) else [],
        expand("results/tables/replication_{env}.md", env=shipped_replications()),
        PRIOR_PRODUCTS,
