(ns quorate.checkers.bound
  "Invariant 9: with a majority connected, `from` truly dead for a majority of sites and another region up, DNS switches within
  the bound that the policy implies.

  The bound counts only the time without a fault of the cluster or of the provider, and without the time that an election and
  fresh observations take after one (:grace-ms of the setup)."
  (:require [quorate.history :as h]))

(defn- electorate [history] (keys (:sites (h/setup history))))

(defn- voters-at
  "The voting nodes that the nemesis knew of at a time."
  [history at]
  (or (last (keep #(when (<= (:time %) at) (get-in % [:value :voters])) (h/infos history :nemesis :electorate)))
      (electorate history)))

(defn outages
  "Each outage of an active region: {:service :region :from :to :switched}, :switched being when the record left the region."
  [history]
  (for [{:keys [time] {:keys [service region dead-for outage until]} :value} (h/infos history :nemesis :region)
        :when outage
        :let [left (first (filter #(and (>= (:time %) time)
                                        (not= (set (get-in % [:value :values]))
                                              (set (get-in (h/services history) [service :values region]))))
                                  (filter #(and (h/standing? %) (= service (get-in % [:value :service])))
                                          (h/writes history))))
              ended (or (some #(when (and (> (:time %) time) (= service (get-in % [:value :service]))
                                          (= region (get-in % [:value :region]))
                                          (empty? (get-in % [:value :dead-for])))
                                 (:time %))
                              (h/infos history :nemesis :region))
                        (h/end history))
              voters (voters-at history time)
              dead (count (filter (set dead-for) voters))]
        :when (> dead (quot (count voters) 2))]
    {:service service :region region :from time :to ended
     :switched (when (and left (<= (:time left) (+ ended (h/ms->ns (get-in (h/services history) [service :bound-ms])))))
                 (:time left))}))

(defn excused "Spans that do not count, merged." [history]
  (let [grace (h/ms->ns (:grace-ms (h/setup history)))]
    (h/merged (map (fn [[from to]] [from (+ to grace)]) (h/fault-spans history)))))

(defn check [history]
  (let [excused (excused history)]
    (h/verdict
     9 (for [{:keys [service region from to switched]} (outages history)
             :let [bound (h/ms->ns (get-in (h/services history) [service :bound-ms]))
                   until (or switched to)
                   took (- until from (h/overlap excused from until))]
             :when (> took bound)]
         (str service ": " region " died at " (h/ms from) " ms; "
              (if switched (str "the record left it after " (h/ms took) " ms without a fault")
                  (str "the record never left it in " (h/ms took) " ms without a fault"))
              ", " (h/ms bound) " ms are the bound")))))
